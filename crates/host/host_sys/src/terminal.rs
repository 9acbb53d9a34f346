//! Terminal modes that are put back in every way of ending.

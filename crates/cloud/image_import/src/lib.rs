//! Foreign formats are read here, in a child process that can do nothing but that.

//! Asynchronous file I/O: io_uring behind a safe interface.

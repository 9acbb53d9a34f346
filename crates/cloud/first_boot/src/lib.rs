//! What an instance is told at its first boot: a NoCloud seed made of user data and defaults.

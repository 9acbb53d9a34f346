//! A scripted engine for tests of the machine and the runtime (see `FakeEngine`).

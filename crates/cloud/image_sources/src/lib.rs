//! Where images come from: a catalogue of vendors, package archives, files, OCI registries.

//! File systems inside of disks, read without mounting them: partition tables, ext4, xfs, btrfs, vfat, and what
//! of their files it takes to boot.
//!
//! Everything that is read here was written by somebody else: no length, offset or count is believed.

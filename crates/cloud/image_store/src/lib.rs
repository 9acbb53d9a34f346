//! Images of operating systems, kept by the SHA-256 of their contents, and the disks that instances get of them.

//! The channel between master and worker: messages and descriptors.

//! The thread that appends to the file: whole lines, counted losses.

//! Private networks of Linux namespaces on this machine.

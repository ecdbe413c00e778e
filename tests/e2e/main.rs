//! The end-to-end tests, as one program: the SDK is linked once, and one emulator serves all.

mod architecture;
mod domain;
mod emulators;
mod in_process;
mod licences;
mod support;

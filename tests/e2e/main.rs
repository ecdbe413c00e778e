//! The end-to-end tests, as one program: the SDK is linked once, and one emulator serves all.

mod architecture;
mod contracts;
mod domain;
mod emulators;
mod fleet;
mod fleet_messages;
mod fleet_resume;
mod library;
mod licences;
mod secrets;
mod stage;
mod support;

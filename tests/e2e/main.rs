//! The end-to-end tests, as one program: the SDK is linked once, and one emulator serves all.

mod architecture;
mod bad_input;
mod bad_jobs;
mod commands;
mod contracts;
mod domain;
mod embedded;
mod emulators;
mod estimate;
mod fast_reader;
mod fleet;
mod fleet_messages;
mod fleet_resume;
mod in_process;
mod interrupted;
mod library;
mod licences;
mod limits;
mod secrets;
mod segments;
mod stage;
mod support;

//! The functions for Lambda, as the end-to-end tests run them.

fn main() -> std::process::ExitCode {
    worker::lambda::main()
}

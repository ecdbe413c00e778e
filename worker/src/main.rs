//! The program `dynamend-worker`; see [`worker::daemon`].

fn main() -> std::process::ExitCode {
    worker::main()
}

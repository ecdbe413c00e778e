//! The templates of `infra`: what linters say of them, what an emulator makes of them, and what they permit.

mod lint;
mod policies;
mod scaling_api;
mod stacks;

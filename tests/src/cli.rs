//! The AWS CLI of the tests' own environment, against an emulator.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::process::REGION;
use crate::python::{self, Environment};

/// The CLI with an empty home, credentials that every emulator takes, and an endpoint for all services.
#[derive(Debug)]
pub struct Cli {
    endpoint: String,
    home: TempDir,
}

impl Cli {
    /// For the emulator there.
    ///
    /// # Panics
    /// When no temporary directory can be created.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), home: TempDir::new().expect("a temporary directory can be created") }
    }

    /// Runs `aws` with these arguments; its standard output, or what it says is wrong.
    ///
    /// # Errors
    /// When it fails.
    ///
    /// # Panics
    /// When Python cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(python::interpreter(Environment::Aws));
        command.args(["-m", "awscli", "--output", "json", "--endpoint-url", &self.endpoint]).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.home.path());
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
        command.env("AWS_DEFAULT_REGION", REGION).env("AWS_EC2_METADATA_DISABLED", "true").env("LANG", "C.UTF-8");
        let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let (answer, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(answer.into_owned()) } else { Err(format!("{arguments:?}: {said}{answer}")) }
    }

    /// As [`Self::run`], for what must not fail; its answer is JSON, or nothing.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> Json {
        let answer = self.run(arguments).unwrap_or_else(|said| panic!("aws {said}"));
        if answer.trim().is_empty() { Json::Null } else { serde_json::from_str(&answer).expect("the answer is JSON") }
    }

    /// `aws cloudformation deploy`, which creates the stack or updates it, and waits.
    ///
    /// # Panics
    /// When it fails, with the stack's events.
    pub fn deploy(&self, template: &Path, stack: &str, parameters: &[(&str, &str)]) {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = template.to_str().expect("a template has a plain name");
        let mut arguments = vec!["cloudformation", "deploy", "--template-file", path, "--stack-name", stack];
        arguments.extend(["--capabilities", "CAPABILITY_NAMED_IAM"]);
        if !parameters.is_empty() {
            arguments.push("--parameter-overrides");
            arguments.extend(parameters.iter().map(String::as_str));
        }
        if let Err(said) = self.run(&arguments) {
            let events = self.ask(&["cloudformation", "describe-stack-events", "--stack-name", stack]);
            let reasons = events["StackEvents"].as_array().into_iter().flatten();
            let reasons = reasons.filter(|event| event["ResourceStatusReason"].is_string()).map(ToString::to_string);
            panic!("aws {said}{}", reasons.collect::<Vec<_>>().join("\n"));
        }
    }

    /// The outputs of a stack.
    ///
    /// # Panics
    /// When there is no such stack.
    #[must_use]
    pub fn outputs(&self, stack: &str) -> BTreeMap<String, String> {
        let answer = self.ask(&["cloudformation", "describe-stacks", "--stack-name", stack]);
        let outputs = answer["Stacks"][0]["Outputs"].as_array().cloned().unwrap_or_default();
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        outputs.iter().map(|output| (text(&output["OutputKey"]), text(&output["OutputValue"]))).collect()
    }

    /// Deletes a stack, and waits.
    ///
    /// # Panics
    /// When it fails.
    pub fn delete(&self, stack: &str) {
        let _ = self.ask(&["cloudformation", "delete-stack", "--stack-name", stack]);
        let _ = self.ask(&["cloudformation", "wait", "stack-delete-complete", "--stack-name", stack]);
    }
}

//! `iam-policy`: the policy that grants what a purpose needs, and no more. It asks nobody anything.

use shared::domain::policy::{MAX_MANAGED_POLICY, policy};

use crate::cli::iam_policy::IamPolicyArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;

pub(super) fn run(settings: &Settings, args: &IamPolicyArgs) -> Result<Exit, Failure> {
    let request = settings.policy_request(args)?;
    let document = policy(&request.needed, &request.names);
    if document.is_empty() {
        return Err(Failure::usage(
            "nothing that these purposes need has a name, so that there is nothing to allow",
            "name tables with -m and -s, the queue with --queue, the bucket with --store s3://BUCKET/PREFIX; with \
             --policy-of role or slave-role only tables and streams count",
        ));
    }
    request.notes.iter().for_each(|note| settings.note(&format!("note: {note}")));
    let size = document.size();
    if size > MAX_MANAGED_POLICY {
        settings.note(&format!(
            "warning: the policy has {size} characters, and IAM takes at most {MAX_MANAGED_POLICY} in a managed policy: \
             print several, each for some of the purposes or tables"
        ));
    }
    let mut output = Output::new();
    output.json(&document)?;
    output.finish()?;
    Ok(Exit::Agree)
}

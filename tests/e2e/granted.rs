//! The policy that `dynamend iam-policy` prints allows what the programs do, and nothing of it can be left out.

use std::collections::BTreeSet;

use shared::domain::permissions::Service;
use tests::policy::{Policy, matches};
use tests::process::REGION;

use crate::permissions::UNSEEN;
use crate::recorded::{ACCOUNT, Asked, KEY, ROLE, Recorded};
use crate::stage::document;

/// Statements that no call may be seen to need: what a job needs only once it has a limit is granted to all.
const UNSEEN_STATEMENTS: [&str; 1] = ["TellOtherWorkers"];

impl Recorded {
    /// Holds what was asked for against the policies that the program prints with these flags; `excused` are statements
    /// and actions that other tests see needed.
    pub(crate) fn assert_granted(&self, asked: &BTreeSet<Asked>, flags: &[&str], excused: &[&str]) {
        let of = |service| asked.iter().any(|it| it.service == service);
        let role = if of(Service::Sts) { &["--role-arn", ROLE][..] } else { &[] };
        let key = if of(Service::Kms) { &["--kms-key", KEY][..] } else { &[] };
        let of_program = self.policy(&[flags, role, key].concat());
        let of_role = of(Service::Sts).then(|| self.policy(&[flags, role, key, &["--policy-of", "role"]].concat()));
        // Tables are reached by the role, where there is one, and everything else never.
        let (on_tables, elsewhere): (BTreeSet<&Asked>, BTreeSet<&Asked>) =
            asked.iter().partition(|it| it.service == Service::DynamoDb);
        let all = match &of_role {
            Some(of_role) => vec![(&of_program, elsewhere), (of_role, on_tables)],
            None => vec![(&of_program, asked.iter().collect())],
        };
        for (policy, asked) in all {
            let denied_by = |policy: &Policy| -> Vec<String> {
                let action = |it: &Asked| format!("{}:{}", it.service.prefix(), it.action);
                let denied = asked.iter().filter(|it| !policy.allows(&action(it), &it.arn));
                denied.map(|it| format!("{} on {}", action(it), it.arn)).collect()
            };
            assert_eq!(denied_by(policy), Vec::<String>::new(), "{flags:?}");
            for (grant, rest) in policy.without_each() {
                let name = grant.action.split(':').nth(1).unwrap_or_default();
                let is_excused = excused.iter().any(|it| *it == grant.sid || *it == grant.action)
                    || UNSEEN.iter().any(|(action, _)| *action == name)
                    || UNSEEN_STATEMENTS.contains(&grant.sid.as_str())
                    // A queue with a key of its own needs it too, which no call shows.
                    || (grant.sid == "UseKeys" && of(Service::Sqs));
                assert!(is_excused || !denied_by(&rest).is_empty(), "{flags:?} can do without {grant:?}");
            }
        }
    }

    /// The flags for what a fleet does.
    pub(crate) fn for_fleet<'a>(&'a self, purpose: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["--for", purpose, "--queue", &self.fleet.queue.url], more].concat()
    }

    fn policy(&self, flags: &[&str]) -> Policy {
        let names = ["--account", ACCOUNT, "--region", REGION, "--store", &self.fleet.store];
        let printed = self.fleet.stage.programs.dynamend(&[&["iam-policy"], flags, &names].concat());
        assert_eq!(printed.code, Some(0), "{flags:?}: {}", printed.stderr);
        Policy::of(&document(&printed))
    }
}

#[test]
fn wildcards_are_those_of_iam() {
    for (pattern, resource, is_one) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*c", "abbc", true),
        ("a*c", "abbcd", false),
        ("jobs/*/summary.json", "jobs/1/2/summary.json", true),
        ("jobs/*/summary.json", "jobs/summary.json", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a${*}c", "a*c", true),
        ("a${*}c", "abc", false),
        ("a${$}{c}", "a${c}", true),
    ] {
        assert_eq!(matches(pattern, resource), is_one, "{pattern}, {resource}");
    }
}

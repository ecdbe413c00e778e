//! What IAM policies allow, as far as `dynamend iam-policy` writes them: allowing, actions by name, resources with wildcards.

use serde_json::Value as Json;

/// One policy, or several that one identity has.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    grants: Vec<Grant>,
}

/// An action of a statement, and what it is allowed on.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The statement.
    pub sid: String,
    /// The action.
    pub action: String,
    /// The resources.
    pub resources: Vec<String>,
}

impl Policy {
    /// Reads a policy. What this reading does not know must not be in it.
    #[must_use]
    pub fn of(document: &Json) -> Self {
        assert_eq!(document["Version"], "2012-10-17", "{document}");
        let keys = |json: &Json| json.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        let texts = |json: &Json| -> Vec<String> { serde_json::from_value(json.clone()).expect("a list of texts") };
        let mut grants = Vec::new();
        for statement in document["Statement"].as_array().expect("a policy has statements") {
            assert_eq!(keys(statement), ["Action", "Effect", "Resource", "Sid"], "{statement}");
            assert_eq!(statement["Effect"], "Allow");
            let resources = texts(&statement["Resource"]);
            for action in texts(&statement["Action"]) {
                assert!(!action.contains(['*', '?']), "{action}");
                let sid = statement["Sid"].as_str().expect("a statement has a name").to_owned();
                grants.push(Grant { sid, action, resources: resources.clone() });
            }
        }
        Self { grants }
    }

    /// Whether an action is allowed on a resource.
    #[must_use]
    pub fn allows(&self, action: &str, resource: &str) -> bool {
        let on = |grant: &Grant| grant.resources.iter().any(|pattern| matches(pattern, resource));
        self.grants.iter().any(|grant| grant.action == action && on(grant))
    }

    /// Everything that it allows, each with the policy that there would be without.
    pub fn without_each(&self) -> impl Iterator<Item = (&Grant, Self)> {
        (0..self.grants.len()).map(|leave_out| {
            let mut rest = self.clone();
            rest.grants.remove(leave_out);
            (&self.grants[leave_out], rest)
        })
    }
}

/// Whether a resource is one of those that a pattern means: `*` is any text, `?` any character, `${*}` an asterisk.
#[must_use]
pub fn matches(pattern: &str, resource: &str) -> bool {
    let mut symbols = pattern.chars();
    let Some(first) = symbols.next() else { return resource.is_empty() };
    let rest = symbols.as_str();
    let mut of_resource = resource.chars();
    let literal = |symbol: char, after: &str| resource.strip_prefix(symbol).is_some_and(|more| matches(after, more));
    match first {
        '*' => matches(rest, resource) || (of_resource.next().is_some() && matches(pattern, of_resource.as_str())),
        '?' => of_resource.next().is_some() && matches(rest, of_resource.as_str()),
        '$' => {
            let inner = rest.strip_prefix('{').expect("`$` begins a variable");
            let symbol = inner.chars().next().expect("a variable has a name");
            literal(symbol, inner[symbol.len_utf8()..].strip_prefix('}').expect("a variable ends"))
        }
        _ => literal(first, rest),
    }
}

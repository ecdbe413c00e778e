//! The templates of `infra`, resolved as CloudFormation would: with parameters, conditions and functions worked out.
//!
//! cfn-lint's decoder reads the YAML. What only a deployed stack knows is a placeholder that says what it stands for:
//! `import:NAME` for an export, `resource:LOGICAL-ID` and `attribute:LOGICAL-ID.NAME` for what the stack itself makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use crate::python::{self, Environment};

/// Prints an object: each template, by its file's name, as JSON with the long names of functions.
const DECODE: &str = "
import json, sys
from cfnlint.decode.cfn_yaml import load
print(json.dumps({path.rsplit('/', 1)[1]: load(path) for path in sys.argv[1:]}))
";

const PSEUDO: [(&str, &str); 5] = [
    ("AWS::AccountId", "111122223333"),
    ("AWS::Partition", "aws"),
    ("AWS::Region", "eu-west-1"),
    ("AWS::StackName", "dynamend"),
    ("AWS::URLSuffix", "amazonaws.com"),
];

/// The folder of the templates.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").join("infra")
}

/// The paths of all templates, in order.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn paths() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder can be read");
    let all = entries.map(|entry| entry.expect("the folder can be read").path());
    let is_template = |path: &PathBuf| {
        let yaml = path.extension().is_some_and(|extension| extension == "yaml");
        yaml && std::fs::read_to_string(path).is_ok_and(|text| text.contains("AWSTemplateFormatVersion"))
    };
    let mut templates: Vec<PathBuf> = all.filter(is_template).collect();
    templates.sort();
    templates
}

/// A template as it is written.
#[derive(Clone, Debug)]
pub struct Template {
    json: Json,
}

/// A template with everything worked out.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// By logical id, without those whose condition does not hold.
    pub resources: BTreeMap<String, Json>,
    /// Their values, by logical id, without those whose condition does not hold.
    pub outputs: BTreeMap<String, Json>,
}

impl Template {
    /// The template of that name, `core.yaml` say; all of them are decoded once.
    ///
    /// # Panics
    /// When there is none of that name, or one of them is no YAML.
    #[must_use]
    pub fn named(name: &str) -> Self {
        static ALL: OnceLock<Json> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let mut command = Command::new(python::interpreter(Environment::Linters));
            let output = command.args(["-c", DECODE]).args(paths()).output().expect("Python can be run");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).expect("the templates are JSON")
        });
        let json = all.get(name).unwrap_or_else(|| panic!("there is no template {name} in infra")).clone();
        Self { json }
    }

    /// One that a test made.
    #[must_use]
    pub fn new(json: Json) -> Self {
        Self { json }
    }

    /// As written.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// Its parameter of that name, as it is declared.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Json> {
        self.json["Parameters"].get(name)
    }

    /// The same with its numeric parameters, as given or by default, written out: MiniStack takes every parameter for text,
    /// and reckons with it.
    ///
    /// # Panics
    /// When one of them is no number.
    #[must_use]
    pub fn with_numbers(&self, given: &[(&str, &str)]) -> Self {
        let mut json = self.json.clone();
        let parameters = self.json["Parameters"].as_object().into_iter().flatten();
        for (name, parameter) in parameters.filter(|(_, parameter)| parameter["Type"] == "Number") {
            let given = given.iter().find(|(given, _)| given == name).map(|(_, value)| (*value).to_owned());
            let number = given.unwrap_or_else(|| text(&parameter["Default"]));
            let number = serde_json::from_str(&number).unwrap_or_else(|error| panic!("{name}: {error}"));
            replace(&mut json, &serde_json::json!({ "Ref": name }), &number);
        }
        Self { json }
    }

    /// Works everything out, with these parameters and the defaults of the others.
    ///
    /// # Panics
    /// When a parameter is unknown or has no value, or a function is none of those that the templates use.
    #[must_use]
    pub fn resolve(&self, given: &[(&str, &str)]) -> Resolved {
        let scope = Scope::new(&self.json, given);
        let kept = |section: &str| -> BTreeMap<String, Json> {
            let entries = self.json[section].as_object().into_iter().flatten();
            let holds = |entry: &Json| entry["Condition"].as_str().is_none_or(|name| scope.holds(name));
            let kept = entries.filter(|(_, entry)| holds(entry));
            kept.map(|(name, entry)| (name.clone(), scope.value(entry))).collect()
        };
        let outputs = kept("Outputs").into_iter().map(|(name, output)| (name, output["Value"].clone()));
        Resolved { resources: kept("Resources"), outputs: outputs.collect() }
    }
}

impl Resolved {
    /// The properties of a resource.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn properties(&self, name: &str) -> &Json {
        &self.resources.get(name).unwrap_or_else(|| panic!("the template makes no {name}"))["Properties"]
    }

    /// Every resource of a type, with its logical id and its properties.
    pub fn of_type<'a>(&'a self, type_: &'a str) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let all = self.resources.iter().filter(move |(_, resource)| resource["Type"] == type_);
        all.map(|(name, resource)| (name.as_str(), &resource["Properties"]))
    }
}

/// What names stand for within one template.
struct Scope<'a> {
    template: &'a Json,
    parameters: BTreeMap<&'a str, Json>,
}

impl<'a> Scope<'a> {
    fn new(template: &'a Json, given: &[(&str, &str)]) -> Self {
        let declared: BTreeMap<&str, &Json> =
            template["Parameters"].as_object().into_iter().flatten().map(|(name, one)| (name.as_str(), one)).collect();
        for (name, _) in given {
            assert!(declared.contains_key(name), "the template has no parameter {name}");
        }
        let value = |name: &str, parameter: &Json| {
            let given = given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
            let text = given.map_or_else(|| text(&parameter["Default"]), str::to_owned);
            assert!(given.is_some() || !parameter["Default"].is_null(), "{name} has neither a value nor a default");
            let is_list = parameter["Type"].as_str().is_some_and(|type_| type_.contains("List"));
            // An empty text is a list of one empty text.
            let items = || text.split(',').map(str::trim);
            if is_list { items().map(Json::from).collect() } else { Json::String(text.clone()) }
        };
        let parameters = declared.into_iter().map(|(name, one)| (name, value(name, one))).collect();
        Self { template, parameters }
    }

    fn holds(&self, condition: &str) -> bool {
        let rule = &self.template["Conditions"][condition];
        assert!(!rule.is_null(), "there is no condition {condition}");
        self.truth(rule)
    }

    fn truth(&self, rule: &Json) -> bool {
        if let Some(name) = rule["Condition"].as_str() {
            return self.holds(name);
        }
        let (function, arguments) = function(rule).unwrap_or_else(|| panic!("{rule} is no condition"));
        let arguments = arguments.as_array().unwrap_or_else(|| panic!("{function} takes a list, not {arguments}"));
        match function {
            "Fn::Equals" => self.value(&arguments[0]) == self.value(&arguments[1]),
            "Fn::Not" => !self.truth(&arguments[0]),
            "Fn::And" => arguments.iter().all(|argument| self.truth(argument)),
            "Fn::Or" => arguments.iter().any(|argument| self.truth(argument)),
            _ => panic!("{function} is no condition"),
        }
    }

    fn value(&self, json: &Json) -> Json {
        match json {
            Json::Array(items) => items.iter().map(|item| self.value(item)).filter(|item| !is_no_value(item)).collect(),
            Json::Object(fields) => match function(json) {
                Some((name, arguments)) => self.call(name, arguments),
                None => self.object(fields),
            },
            _ => json.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Json>) -> Json {
        let entries = fields.iter().map(|(name, field)| (name.clone(), self.value(field)));
        Json::Object(entries.filter(|(_, field)| !is_no_value(field)).collect())
    }

    fn call(&self, function: &str, arguments: &Json) -> Json {
        let list = || arguments.as_array().unwrap_or_else(|| panic!("{function} takes a list, not {arguments}"));
        let values = |json: &Json| match self.value(json) {
            Json::Array(items) => items,
            other => panic!("{function} takes a list, not {other}"),
        };
        match function {
            "Ref" => self.name(&text(arguments)),
            "Fn::GetAtt" => {
                let parts =
                    arguments.as_array().map_or_else(|| vec![text(arguments)], |all| all.iter().map(text).collect());
                Json::String(format!("attribute:{}", parts.join(".")))
            }
            "Fn::ImportValue" => Json::String(format!("import:{}", text(&self.value(arguments)))),
            "Fn::Sub" => self.substitute(arguments),
            "Fn::Join" => {
                let items: Vec<String> = values(&list()[1]).iter().map(text).collect();
                Json::String(items.join(&text(&list()[0])))
            }
            "Fn::Split" => {
                let whole = text(&self.value(&list()[1]));
                whole.split(&text(&list()[0])).map(Json::from).collect()
            }
            "Fn::Select" => {
                let at: usize = text(&self.value(&list()[0])).parse().expect("an index is a number");
                values(&list()[1]).get(at).unwrap_or_else(|| panic!("{arguments} has no item {at}")).clone()
            }
            "Fn::If" => {
                let chosen = if self.holds(&text(&list()[0])) { 1 } else { 2 };
                self.value(&list()[chosen])
            }
            "Fn::FindInMap" => {
                let keys = values(arguments);
                let found = keys.iter().fold(&self.template["Mappings"], |map, key| &map[text(key)]);
                assert!(!found.is_null(), "the mappings have no {keys:?}");
                found.clone()
            }
            "Fn::GetAZs" => (["a", "b", "c"].iter()).map(|zone| Json::String(format!("eu-west-1{zone}"))).collect(),
            "Fn::Base64" => self.value(arguments),
            _ => Json::Bool(self.truth(&serde_json::json!({ function: arguments }))),
        }
    }

    fn name(&self, name: &str) -> Json {
        if name == "AWS::NoValue" {
            return Json::Object(Map::from_iter([("AWS::NoValue".to_owned(), Json::Null)]));
        }
        if let Some(value) = self.parameters.get(name) {
            return value.clone();
        }
        if let Some((_, value)) = PSEUDO.iter().find(|(pseudo, _)| *pseudo == name) {
            return Json::from(*value);
        }
        assert!(!self.template["Resources"][name].is_null(), "`{name}` is neither a parameter nor a resource");
        Json::String(format!("resource:{name}"))
    }

    fn substitute(&self, arguments: &Json) -> Json {
        let (pattern, own) = match arguments {
            Json::Array(parts) => (text(&parts[0]), parts[1].clone()),
            _ => (text(arguments), Json::Null),
        };
        let mut whole = String::new();
        let mut rest = pattern.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) = after.split_once('}').unwrap_or_else(|| panic!("`{pattern}` does not end"));
            whole.push_str(before);
            match own.get(name) {
                _ if name.starts_with('!') => whole.push_str(&format!("${{{}}}", &name[1..])),
                Some(value) => whole.push_str(&text(&self.value(value))),
                None if name.contains('.') => whole.push_str(&format!("attribute:{name}")),
                None => whole.push_str(&text(&self.name(name))),
            }
            rest = behind;
        }
        Json::String(whole + rest)
    }
}

/// The function that an object is a call of, if it is one, and what it is given.
fn function(json: &Json) -> Option<(&str, &Json)> {
    let fields = json.as_object().filter(|fields| fields.len() == 1)?;
    let (name, arguments) = fields.iter().next()?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name.as_str(), arguments))
}

fn replace(json: &mut Json, what: &Json, with: &Json) {
    match json {
        _ if json == what => *json = with.clone(),
        Json::Array(items) => items.iter_mut().for_each(|item| replace(item, what, with)),
        Json::Object(fields) => fields.values_mut().for_each(|field| replace(field, what, with)),
        _ => {}
    }
}

fn is_no_value(json: &Json) -> bool {
    json.get("AWS::NoValue").is_some()
}

/// A scalar as CloudFormation writes it into a text.
fn text(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

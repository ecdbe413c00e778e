//! The tables of an entry: `input`, and `output` or `outputs`.

use shared::domain::job::{Access, Side};
use shared::domain::table_ref::{BadTableRef, TableRef};

use super::fault::{Faults, Noted, Place, Quoted};
use super::fields::{At, Fields, Maybe};
use super::yaml::{Content, Node};
use super::{Defaults, Regions, Workers};

const FIELDS: [&str; 6] = ["table", "region", "role_arn", "external_id", "profile", "endpoint_url"];

/// A table and where the file names it.
struct Placed {
    place: Place,
    understood: bool,
    side: Side,
}

/// The input and the outputs of an entry.
pub(super) fn read(
    entry: &Fields<'_>,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> Result<(Side, Vec<Side>), Noted> {
    let (input, outputs) = (input(entry, defaults, faults), outputs(entry, defaults, faults));
    // What is wrong with the input's region or name is not told again of outputs that take it over.
    let (region, name) = match &input {
        Ok(Placed { side, .. }) => (Ok(side.table.region()), Ok(side.table.name())),
        Err(unfit) => (unfit.region.as_deref().ok_or(Noted), unfit.name.as_deref().ok_or(Noted)),
    };
    let place = |output: Named, faults: &mut Faults| output.or(region, name).place(defaults, faults).map_err(|_| Noted);
    let outputs: Vec<_> = outputs?.into_iter().map(|output| place(output?, faults)).collect();
    let outputs: Vec<Placed> = outputs.into_iter().collect::<Result<_, _>>()?;
    let input = input.map_err(|_| Noted)?;
    refuse_same(&input, &outputs, faults)?;
    Ok((input.side, outputs.into_iter().map(|output| output.side).collect()))
}

/// A table that cannot be used, with what is fit for use of it.
#[derive(Default)]
struct Unfit {
    region: Option<String>,
    name: Option<String>,
}

/// What is missing here is missing: there is nowhere else to look for it than on the command line.
fn input(entry: &Fields<'_>, defaults: &Defaults<'_>, faults: &mut Faults) -> Result<Placed, Unfit> {
    let fields = entry.fields("input", &FIELDS, faults).map_err(|Noted| Unfit::default())?;
    let Some(fields) = fields else {
        faults.note(entry.place, "`input` is missing", "name the table to copy from");
        return Err(Unfit::default());
    };
    let mut named = Named::read(&fields, defaults, faults);
    if let Ok(None) = named.region {
        let missing = "`input.region` is missing";
        let hint = "name it, such as us-west-2, or give --region on the command line";
        named.region = match defaults.region {
            Some(region) => Ok(Some(At { value: region.to_owned(), place: fields.place })),
            None => Err(faults.note(fields.place, missing, hint)),
        };
    }
    if let Ok(None) = named.name {
        named.name = Err(faults.note(fields.place, "`input.table` is missing", "name the table to copy from"));
    }
    named.place(defaults, faults)
}

fn outputs(
    entry: &Fields<'_>,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> Result<Vec<Result<Named, Noted>>, Noted> {
    let one = |node: &Node, path: &str, faults: &mut Faults| {
        Fields::of(node, path, &FIELDS, faults).map(|fields| Named::read(&fields, defaults, faults))
    };
    match (entry.member("output"), entry.value("outputs")) {
        (Some(_), Some(several)) => {
            let hint = "name all tables under `outputs`";
            Err(faults.note(several.key_place, "both `output` and `outputs` are here", hint))
        }
        (None, None) => Err(faults.note(entry.place, "`output` is missing", "name the table to copy to")),
        (Some(member), None) => {
            let named = one(&member.value, "output", faults).map(|named| Named { place: member.key_place, ..named });
            Ok(vec![named])
        }
        (None, Some(member)) => match &member.value.content {
            Content::List(nodes) if !nodes.is_empty() => {
                let numbered = nodes.iter().enumerate();
                Ok(numbered.map(|(index, node)| one(node, &format!("outputs[{index}]"), faults)).collect())
            }
            other => Err(entry.wrong("outputs", member.place(), other, "a list of tables", faults)),
        },
    }
}

/// What the file says of one table, as far as it says it.
struct Named {
    place: Place,
    /// Whether all that the file says of it is known.
    understood: bool,
    region: Maybe<String>,
    name: Maybe<String>,
    arn: Option<String>,
    access: Result<Access, Noted>,
}

impl Named {
    fn read(fields: &Fields<'_>, defaults: &Defaults<'_>, faults: &mut Faults) -> Self {
        let owned = |text: At<&str>| At { value: text.value.to_owned(), place: text.place };
        let table = fields.text("table", faults);
        let region = fields.text("region", faults).map(|region| region.map(owned));
        let access = access(fields, defaults, faults);
        let named =
            Self { place: fields.place, understood: fields.all_known, region, name: Err(Noted), arn: None, access };
        let At { value, place } = match table {
            Ok(Some(table)) if table.value.contains([':', '/']) => table,
            other => return Self { name: other.map(|name| name.map(owned)), ..named },
        };
        let table: TableRef = match value.parse() {
            Ok(table) => table,
            Err(BadTableRef { what, .. }) => {
                let message = format!("`{}` is {}: {what}", fields.path("table"), Quoted(value));
                return Self { name: Err(faults.note(place, message, "")), region: Err(Noted), ..named };
            }
        };
        let region = match named.region {
            Ok(Some(region)) if region.value != table.region() => {
                let (path, other) = (fields.path("region"), Quoted(&region.value));
                let message = format!("`{path}` is {other}, and the table is named as {}", Quoted(value));
                Err(faults.note(region.place, message, "leave the region out"))
            }
            Err(noted) => Err(noted),
            Ok(_) => Ok(Some(At { value: table.region().to_owned(), place })),
        };
        let name = Ok(Some(At { value: table.name().to_owned(), place }));
        Self { region, name, arn: value.starts_with("arn:").then(|| value.to_owned()), ..named }
    }

    /// With another table's region and name where it says nothing of its own.
    fn or(self, region: Result<&str, Noted>, name: Result<&str, Noted>) -> Self {
        let place = self.place;
        let or = |own: Maybe<String>, other: Result<&str, Noted>| match (own, other) {
            (Ok(None), Ok(other)) => Ok(Some(At { value: other.to_owned(), place })),
            (Ok(None), Err(_)) => Err(Noted),
            (own, _) => own,
        };
        Self { region: or(self.region, region), name: or(self.name, name), ..self }
    }

    fn place(self, defaults: &Defaults<'_>, faults: &mut Faults) -> Result<Placed, Unfit> {
        let fit = |part: Maybe<String>| part.ok().flatten();
        let (region, name) = match (fit(self.region), fit(self.name)) {
            (Some(region), Some(name)) => (region, name),
            (region, name) => {
                return Err(Unfit { region: region.map(|at| at.value), name: name.map(|at| at.value) });
            }
        };
        let text = self.arn.unwrap_or_else(|| format!("{}:{}", region.value, name.value));
        let table: TableRef = match text.parse() {
            Ok(table) => table,
            Err(BadTableRef { what, .. }) => {
                let region_is_fit = format!("{}:any", region.value).parse::<TableRef>().is_ok();
                let place = if region_is_fit { name.place } else { region.place };
                faults.note(place, format!("{} names no table: {what}", Quoted(&text)), "");
                let (region, name) = (Some(region.value), Some(name.value));
                return Err(if region_is_fit { Unfit { region, name: None } } else { Unfit { region: None, name } });
            }
        };
        let Ok(access) = self.access else {
            return Err(Unfit { region: Some(region.value), name: Some(name.value) });
        };
        if defaults.regions == Regions::OfAws && access.endpoint_url.is_none() && !table.has_aws_region() {
            let hint = "regions are written as us-east-1 or eu-central-1; other names need an `endpoint_url`";
            faults.note(region.place, format!("{} is no AWS region", Quoted(table.region())), hint);
            return Err(Unfit { region: None, name: Some(name.value) });
        }
        Ok(Placed { place: self.place, understood: self.understood, side: Side::new(table, access) })
    }
}

/// How a table is reached; unlike its name, that is never taken from the other table.
fn access(fields: &Fields<'_>, defaults: &Defaults<'_>, faults: &mut Faults) -> Result<Access, Noted> {
    let role_arn = fields.text("role_arn", faults).and_then(|role| match role {
        Some(At { value, place }) if !is_role(value) => {
            let message = format!("`{}` is {}, and that is no role", fields.path("role_arn"), Quoted(value));
            Err(faults.note(place, message, "a role is written arn:aws:iam::ACCOUNT:role/NAME"))
        }
        role => Ok(role),
    });
    let external_id = fields.text("external_id", faults).and_then(|id| match (id, &role_arn) {
        (Some(At { place, .. }), Ok(None)) => {
            let message = format!("`{}` is here without a role", fields.path("external_id"));
            Err(faults.note(place, message, "name the role that asks for it, as `role_arn`"))
        }
        (id, _) => Ok(id),
    });
    let profile = fields.text("profile", faults).and_then(|profile| match (profile, defaults.workers) {
        (Some(At { place, .. }), Workers::Fleet) => {
            let message =
                format!("`{}` is here, and workers do not know the profiles of this machine", fields.path("profile"));
            Err(faults.note(place, message, "name a role that they can assume, as `role_arn`, or leave out --queue"))
        }
        (profile, _) => Ok(profile),
    });
    let endpoint_url = fields.text("endpoint_url", faults).and_then(|url| match url {
        Some(At { value, place }) if !is_url(value) => {
            let message = format!("`{}` is {}, and that is no address", fields.path("endpoint_url"), Quoted(value));
            Err(faults.note(place, message, "an address is written http://HOST:PORT or https://HOST"))
        }
        url => Ok(url),
    });
    let own = |text: Option<At<&str>>| text.map(|at| at.value.to_owned());
    let (profile, endpoint_url) = (own(profile?), own(endpoint_url?));
    let default_profile = defaults.profile.filter(|_| defaults.workers == Workers::Here);
    Ok(Access {
        profile: profile.or_else(|| default_profile.map(str::to_owned)),
        role_arn: own(role_arn?),
        external_id: own(external_id?),
        endpoint_url: endpoint_url.or_else(|| defaults.endpoint_url.map(str::to_owned)),
    })
}

fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, role]
        if !partition.is_empty() && !account.is_empty() && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']) && !rest.contains(char::is_whitespace)
    })
}

/// Refuses tables that are certainly the same; planning compares the ids of the others.
fn refuse_same(input: &Placed, outputs: &[Placed], faults: &mut Faults) -> Result<(), Noted> {
    let mut result = Ok(());
    for (index, output) in outputs.iter().enumerate().filter(|(_, output)| output.understood) {
        if same(&input.side, &output.side) {
            let message = format!("input and output are the same table, {}", output.side.table);
            let hint = "another table, region or role makes them differ";
            result = Err(faults.note(output.place, message, hint));
        } else if outputs[..index].iter().any(|before| same(&before.side, &output.side)) {
            let message = format!("two outputs are the same table, {}", output.side.table);
            result = Err(faults.note(output.place, message, "name each table once"));
        }
    }
    result
}

/// A name and an ARN may be tables of two accounts.
fn same(one: &Side, other: &Side) -> bool {
    let is_arn = |side: &Side| side.table.request_name() != side.table.name();
    let reached = |side: &Side| {
        let Access { profile, role_arn, endpoint_url, .. } = side.access.clone();
        if is_arn(side) { (None, None, endpoint_url) } else { (profile, role_arn, endpoint_url) }
    };
    one.table == other.table && reached(one) == reached(other)
}

//! What is done with the tables of an entry: `backfill`, `stream`, `sync`, `verify`.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use shared::domain::job::OldImages;
use shared::domain::segment::{MAX_SEGMENTS, SegmentSet};

use super::fault::{Faults, Noted, Place, Quoted};
use super::fields::{At, Fields, Maybe};
use super::yaml::Content;
use super::{Backfill, Existing, Step, Stream, StreamEnd, StreamFrom, Sync};
use crate::cli::RepairArgs;
use crate::settings::policy;

/// How far a stream may be behind and still count as caught up, as on the command line; one that is read all the time
/// is seldom less behind than the first.
const BEHIND_SECONDS: RangeInclusive<u32> = 5..=86_400;

const BACKFILL: [&str; 4] = ["disabled", "segments", "total_segments", "only_missing"];
const STREAM: [&str; 5] = ["disabled", "from", "until_caught_up", "kinesis", "version_attribute"];
const SYNC: [&str; 9] = [
    "disabled",
    "write_missing",
    "write_differing",
    "delete_extra",
    "repair",
    "scan_for_extra",
    "ignore",
    "version_attribute",
    "undo",
];

/// A step and where the file asks for it.
struct Asked<T> {
    place: Place,
    step: T,
}

/// The steps of an entry, in their order; there is at least one.
pub(super) fn read(entry: &Fields<'_>, faults: &mut Faults) -> Result<Vec<Step>, Noted> {
    // A plan of ddb-sync knows no `sync`, and there both other steps are done unless they are disabled.
    let by_default = entry.member("sync").is_none();
    let backfill = backfill(entry, by_default, faults);
    let stream = stream(entry, by_default, faults);
    let sync = sync(entry, faults);
    let verify = match entry.flag("verify", faults) {
        Ok(Some(At { value: true, place })) => Ok(Some(place)),
        Ok(_) => Ok(None),
        Err(noted) => Err(noted),
    };
    let (backfill, stream, sync, verify) = (backfill?, stream?, sync?, verify?);
    let mut result = Ok(());
    let partial = backfill.as_ref().is_some_and(|backfill| backfill.step.only_segments.is_some());
    if let (true, Some(stream)) = (partial, &stream) {
        let message = "the stream has to be disabled where `backfill.segments` names a part of the table";
        let hint = "say `stream: {disabled: true}` here, and follow the stream once all segments are copied";
        result = Err(faults.note(stream.place, message, hint));
    }
    let comparison = sync.as_ref().map(|sync| sync.place).or(verify);
    if let (true, Some(place)) = (partial, comparison) {
        let message = "whole tables are compared, and `backfill.segments` names a part of one";
        result = Err(faults.note(place, message, "compare them in an entry of its own, once all segments are copied"));
    }
    let endless = stream.as_ref().filter(|stream| stream.step.end == StreamEnd::Never);
    if let (Some(_), Some(place)) = (endless, comparison) {
        let message = "this never gets its turn: it comes after the stream, and the stream has no end";
        result = Err(faults.note(place, message, "say `until_caught_up: SECONDS` in `stream`, or disable the stream"));
    }
    if backfill.is_none() && stream.is_none() && comparison.is_none() {
        let hint = "leave one of `backfill`, `stream` and `sync` enabled, or delete the entry";
        result = Err(faults.note(entry.place, "there is nothing to do: every step is disabled", hint));
    }
    result?;
    let ignore = sync.as_ref().map(|sync| sync.step.ignore.clone()).unwrap_or_default();
    let steps = [
        backfill.map(|asked| Step::Backfill(asked.step)),
        stream.map(|asked| Step::Stream(asked.step)),
        sync.map(|asked| Step::Sync(asked.step)),
        verify.map(|_| Step::Verify { ignore }),
    ];
    Ok(steps.into_iter().flatten().collect())
}

/// The fields of a step that the entry names, and whether it is to be done.
type Switched<'a> = (Fields<'a>, Result<bool, Noted>);

fn switched<'a>(
    entry: &Fields<'a>,
    name: &str,
    known: &[&str],
    faults: &mut Faults,
) -> Result<Option<Switched<'a>>, Noted> {
    let Some(fields) = entry.fields(name, known, faults)? else { return Ok(None) };
    let disabled = fields.flag("disabled", faults);
    Ok(Some((fields, disabled.map(|disabled| !disabled.is_some_and(|disabled| disabled.value)))))
}

fn backfill(entry: &Fields<'_>, by_default: bool, faults: &mut Faults) -> Result<Option<Asked<Backfill>>, Noted> {
    let Some((fields, enabled)) = switched(entry, "backfill", &BACKFILL, faults)? else {
        return Ok(by_default.then(|| Asked { place: entry.place, step: Backfill::default() }));
    };
    let total = fields.number("total_segments", 0, MAX_SEGMENTS, faults);
    let chosen = segments(&fields, faults);
    let existing = if fields.is_set("only_missing", faults) { Existing::Leave } else { Existing::Overwrite };
    // ddb-sync's own default is 0.
    let (total, chosen) = (total?.filter(|total| total.value > 0), chosen?);
    match (&total, &chosen) {
        (None, Some(chosen)) => {
            let hint = "say with `total_segments` how many there are, the same number for every share of the table";
            return Err(faults.note(chosen.place, "`backfill.segments` means nothing without their number", hint));
        }
        (Some(total), Some(chosen)) if chosen.value.highest() >= total.value => {
            let (highest, last) = (chosen.value.highest(), total.value - 1);
            let message = format!("there is no segment {highest} where `backfill.total_segments` is {}", total.value);
            return Err(faults.note(
                chosen.place,
                message,
                format!("segments are counted from 0, so the last is {last}"),
            ));
        }
        _ => {}
    }
    let (total_segments, only_segments) = (total.map(|total| total.value), chosen.map(|chosen| chosen.value));
    let step = Backfill { total_segments, only_segments, existing };
    Ok(enabled?.then_some(Asked { place: fields.place, step }))
}

/// `[0, 1]`, `0,1`, `0-1` or `0`.
fn segments(fields: &Fields<'_>, faults: &mut Faults) -> Maybe<SegmentSet> {
    let expected = "a list of segments such as [0, 1] or 0,3,8-15";
    let Some(member) = fields.value("segments") else { return Ok(None) };
    let place = member.place();
    let nodes = match &member.value.content {
        Content::List(nodes) if !nodes.is_empty() => nodes,
        Content::Plain(_) | Content::Text(_) => return fields.parsed("segments", expected, faults),
        other => return Err(fields.wrong("segments", place, other, expected, faults)),
    };
    let mut segments = Vec::new();
    let mut result = Ok(());
    for node in nodes {
        match &node.content {
            Content::Plain(text) if text.parse::<u32>().is_ok_and(|segment| segment < MAX_SEGMENTS) => {
                segments.extend(text.parse::<u32>());
            }
            other => result = Err(fields.wrong("segments", node.place, other, expected, faults)),
        }
    }
    result.map(|()| Some(At { value: SegmentSet::of(segments), place }))
}

fn stream(entry: &Fields<'_>, by_default: bool, faults: &mut Faults) -> Result<Option<Asked<Stream>>, Noted> {
    let Some((fields, enabled)) = switched(entry, "stream", &STREAM, faults)? else {
        return Ok(by_default.then(|| Asked { place: entry.place, step: Stream::default() }));
    };
    let from = fields.text("from", faults).and_then(|from| match from {
        Some(At { value, place }) => from_text(value).ok_or_else(|| {
            let expected = "trim-horizon, latest or a time such as 2026-11-20T23:15:00Z";
            fields.wrong("from", place, &Content::Plain(value.to_owned()), expected, faults)
        }),
        None => Ok(StreamFrom::default()),
    });
    let end = fields.number("until_caught_up", *BEHIND_SECONDS.start(), *BEHIND_SECONDS.end(), faults).map(|seconds| {
        match seconds {
            Some(At { value, .. }) => StreamEnd::CaughtUp { within: Duration::from_secs(value.into()) },
            None => StreamEnd::Never,
        }
    });
    let kinesis = fields.text("kinesis", faults).and_then(|kinesis| match kinesis {
        Some(At { value, place }) if !is_kinesis(value) => {
            let message = format!("`stream.kinesis` is {}, and that is no Kinesis data stream", Quoted(value));
            Err(faults.note(place, message, "one is written arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"))
        }
        kinesis => Ok(kinesis.map(|at| at.value.to_owned())),
    });
    let version_attribute = fields.text("version_attribute", faults);
    let step = Stream {
        from: from?,
        end: end?,
        kinesis: kinesis?,
        version_attribute: version_attribute?.map(|at| at.value.to_owned()),
    };
    Ok(enabled?.then_some(Asked { place: fields.place, step }))
}

fn from_text(text: &str) -> Option<StreamFrom> {
    match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "trim-horizon" => Some(StreamFrom::TrimHorizon),
        "latest" => Some(StreamFrom::Latest),
        _ => text.parse::<Timestamp>().ok().map(StreamFrom::Time),
    }
}

fn is_kinesis(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", _, "kinesis", region, account, stream]
        if !region.is_empty() && !account.is_empty() && stream.strip_prefix("stream/").is_some_and(|name| !name.is_empty()))
}

fn sync(entry: &Fields<'_>, faults: &mut Faults) -> Result<Option<Asked<Sync>>, Noted> {
    let Some((fields, enabled)) = switched(entry, "sync", &SYNC, faults)? else { return Ok(None) };
    let repair = RepairArgs {
        write_missing: fields.is_set("write_missing", faults),
        write_differing: fields.is_set("write_differing", faults),
        scan_for_extra: fields.is_set("scan_for_extra", faults),
        delete_extra: fields.is_set("delete_extra", faults),
        repair: fields.is_set("repair", faults),
    };
    let old_images = if fields.is_set("undo", faults) { OldImages::Keep } else { OldImages::Drop };
    let ignore = fields.texts("ignore", faults);
    let version_attribute = fields.text("version_attribute", faults)?.map(|at| at.value.to_owned());
    let step = Sync { policy: policy(&repair), ignore, version_attribute, old_images };
    Ok(enabled?.then_some(Asked { place: fields.place, step }))
}

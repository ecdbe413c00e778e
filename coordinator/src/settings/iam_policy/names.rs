//! What the tables, the queue and the buckets of a policy are called in full.
//!
//! Nobody is asked: accounts are those of ARNs, of a side's role, of `--account`, or of the queue.

use std::collections::BTreeSet;

use shared::aws::clients::queue_region;
use shared::domain::arn::{Account, Arn, BadArn, Kind, partition_of};
use shared::domain::permissions::{Permission, Resource};
use shared::domain::policy::{Names, backup_names, store_names};
use shared::domain::table_ref::TableRef;
use shared::journal::StoreUrl;

use super::{holder_of, needs, reaches, roles};
use crate::cli::iam_policy::{HolderArg, IamPolicyArgs};
use crate::failure::Failure;
use crate::settings::Settings;

/// The last character that a policy may hold.
///
/// Source: IAM User Guide, "IAM and AWS STS quotas", IAM name requirements.
const LAST_IN_POLICY: char = '\u{ff}';

/// Everything that has a name, whoever reaches it.
pub(super) fn names(settings: &Settings, args: &IamPolicyArgs, all: &BTreeSet<Permission>) -> Result<Names, Failure> {
    let queue = settings.queue.as_deref().map(|queue| queue_arn(queue, settings.region.as_deref()));
    // A queue in the environment that nobody needs may be anything.
    let queue = if needs(all, Resource::Queue) { queue.transpose()? } else { queue.and_then(Result::ok) };
    let own = args.account.as_ref().or(queue.as_ref().map(Arn::account));
    let of_master = args.role_arn.as_ref();
    let of_slaves = args.slave_role_arn.as_ref().or(of_master);
    let mut named: Vec<(Resource, Arn)> = Vec::new();
    for (resource, tables, role) in
        [(Resource::Master, &args.masters, of_master), (Resource::Slaves, &args.slaves, of_slaves)]
    {
        // A role is in another account, as a rule, and the queue does not tell which.
        let is_of_role = args.policy_of != HolderArg::Program && holder_of(resource, args) == args.policy_of;
        let own = if is_of_role { args.account.as_ref() } else { own };
        let account = role.map(Arn::account).or(own);
        for table in tables {
            named.push((resource, table_arn(table, account)?));
        }
    }
    let at_the_queue = queue.as_ref().map(|queue| queue.partition().to_owned());
    let queue = queue.clone().filter(|_| needs(all, Resource::Queue));
    named.extend(queue.map(|queue| (Resource::Queue, queue)));
    let more = [(Resource::KinesisStream, &args.kinesis), (Resource::Key, &args.kms_key)];
    named.extend(more.into_iter().flat_map(|(resource, arns)| arns.iter().map(move |arn| (resource, arn.clone()))));
    let assumed = roles(args).into_iter().filter(|(_, _, holder)| reaches(*holder, all, args));
    named.extend(assumed.map(|(_, role, _)| (Resource::Role, role.clone())));
    let partition = partition(&named, at_the_queue, settings.region.clone().or_else(region_of_environment))?;

    let mut texts: Vec<(Resource, String)> = Vec::new();
    for (resource, arn) in &named {
        texts.push((*resource, arn.to_string()));
        if *resource == Resource::Master {
            texts.push((Resource::Stream, format!("{arn}/stream/*")));
        }
    }
    if let StoreUrl::S3 { bucket, prefix } = &settings.store {
        check_place(bucket, prefix)?;
        texts.extend(store_names(&partition, bucket, prefix));
    }
    for url in &args.backup {
        if let StoreUrl::S3 { bucket, prefix } = place(url)? {
            check_place(&bucket, &prefix)?;
            texts.extend(backup_names(&partition, &bucket, &prefix));
        }
    }
    let mut names = Names::new();
    for (resource, text) in texts {
        names.entry(resource).or_default().insert(text);
    }
    Ok(names)
}

fn bad_arn(error: &BadArn) -> Failure {
    Failure::usage(error.to_string(), "copy it from `aws` or the console, whole and without wildcards")
}

fn table_arn(table: &TableRef, account: Option<&Account>) -> Result<Arn, Failure> {
    if table.request_name().starts_with("arn:") {
        return Arn::parse(table.request_name(), Kind::Table).map_err(|error| bad_arn(&error));
    }
    if !table.has_aws_region() {
        return Err(Failure::usage(
            format!("`{}` in `{table}` is no AWS region", table.region()),
            "regions are written as us-east-1 or eu-central-1",
        ));
    }
    let Some(account) = account else {
        return Err(Failure::usage(
            format!("the account of {table} is not known"),
            "give --account 111122223333, the table's ARN in place of its name, its side's role, or the queue with --queue, \
             if that is in the same account",
        ));
    };
    Arn::of(Kind::Table, table.region(), account, table.name()).map_err(|error| bad_arn(&error))
}

/// The queue by its ARN, or by its URL, `https://HOST/ACCOUNT/NAME`.
fn queue_arn(text: &str, region: Option<&str>) -> Result<Arn, Failure> {
    if text.starts_with("arn:") {
        return Arn::parse(text, Kind::Queue).map_err(|error| bad_arn(&error));
    }
    let bad = |what: &str| {
        Failure::usage(
            format!("`{text}` is not the URL of a queue: {what}"),
            "give --queue https://sqs.REGION.amazonaws.com/ACCOUNT/NAME or the queue's ARN",
        )
    };
    let parts: Vec<&str> = text.split('/').collect();
    let ["http:" | "https:", "", host, account, name] = parts.as_slice() else {
        return Err(bad("it has no host, account and name"));
    };
    let account: Account = account.parse().map_err(|_| bad("it has no account with 12 digits"))?;
    let Some(region) = queue_region(text).or_else(|| region.map(str::to_owned)) else {
        return Err(Failure::usage(
            format!("the region of the queue {text} is not known: {host} is no host of AWS's"),
            "give --region as well, or the queue's ARN",
        ));
    };
    Arn::of(Kind::Queue, &region, &account, name).map_err(|error| bad_arn(&error))
}

/// The region that the AWS CLI would take from the environment.
fn region_of_environment() -> Option<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|region| !region.is_empty());
    named("AWS_REGION").or_else(|| named("AWS_DEFAULT_REGION"))
}

/// The partition of all of them; where none has one, that of the queue, or of the region.
fn partition(
    named: &[(Resource, Arn)],
    at_the_queue: Option<String>,
    region: Option<String>,
) -> Result<String, Failure> {
    let of_region = || partition_of(&region.unwrap_or_default()).to_owned();
    let otherwise = || at_the_queue.unwrap_or_else(of_region);
    let first = named.first().map_or_else(otherwise, |(_, arn)| arn.partition().to_owned());
    match named.iter().find(|(_, arn)| arn.partition() != first) {
        None => Ok(first),
        Some((_, other)) => Err(Failure::usage(
            format!("{other} is in the partition {}, and {} in {first}", other.partition(), named[0].1),
            "nobody has permissions in two partitions; print a policy for each",
        )),
    }
}

fn place(url: &str) -> Result<StoreUrl, Failure> {
    url.parse::<StoreUrl>().map_err(|error| {
        Failure::usage(error.to_string(), "name a folder of a bucket, s3://BUCKET/PREFIX, or a directory")
    })
}

/// What is no bucket would become something else in an ARN.
fn check_place(bucket: &str, prefix: &str) -> Result<(), Failure> {
    let in_bucket = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !bucket.bytes().all(in_bucket) {
        return Err(Failure::usage(
            format!("`{bucket}` has characters that no bucket's name has"),
            "name the bucket itself, as in s3://BUCKET/PREFIX; access points have no place in such a policy",
        ));
    }
    if prefix.chars().any(|symbol| symbol > LAST_IN_POLICY || symbol.is_control()) {
        return Err(Failure::usage(
            format!("`{prefix}` has characters that IAM takes in no policy"),
            "choose a prefix of plain letters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_known_by_its_url_or_its_arn() {
        for (text, region, arn) in [
            ("https://sqs.eu-west-1.amazonaws.com/111122223333/work", None, "arn:aws:sqs:eu-west-1:111122223333:work"),
            // The URL's own region comes first, as it does when messages are sent.
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/work",
                Some("us-east-1"),
                "arn:aws-cn:sqs:cn-north-1:111122223333:work",
            ),
            (
                "https://sqs-fips.us-gov-west-1.amazonaws.com/111122223333/work.fifo",
                None,
                "arn:aws-us-gov:sqs:us-gov-west-1:111122223333:work.fifo",
            ),
            ("http://127.0.0.1:4566/111122223333/work", Some("us-east-1"), "arn:aws:sqs:us-east-1:111122223333:work"),
            ("arn:aws:sqs:eu-west-1:111122223333:work", None, "arn:aws:sqs:eu-west-1:111122223333:work"),
        ] {
            assert_eq!(queue_arn(text, region).unwrap().to_string(), arn, "{text}");
        }
        for text in [
            "work",
            "https://sqs.eu-west-1.amazonaws.com/work",
            "https://sqs.eu-west-1.amazonaws.com/1/work",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/wo*",
            "http://127.0.0.1:4566/111122223333/work",
            "arn:aws:sqs:eu-west-1:1:work",
        ] {
            assert!(queue_arn(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_table_without_an_account_is_refused_and_an_arn_is_taken_as_it_is() {
        let account: Account = "111122223333".parse().unwrap();
        let arn = |text: &str, account: Option<&Account>| {
            table_arn(&text.parse().unwrap(), account).map(|arn| arn.to_string()).map_err(|failure| failure.message)
        };
        let given = "arn:aws:dynamodb:us-east-1:444455556666:table/orders";

        assert_eq!(arn(given, Some(&account)).unwrap(), given);
        let made = "arn:aws-cn:dynamodb:cn-north-1:111122223333:table/orders";
        assert_eq!(arn("cn-north-1/orders", Some(&account)).unwrap(), made);
        assert_eq!(arn("us-east-1:orders", None).unwrap_err(), "the account of us-east-1:orders is not known");
        assert!(arn("local:orders", Some(&account)).unwrap_err().contains("is no AWS region"));
        assert!(arn("arn:aws:dynamodb:us-east-1:1:table/orders", None).unwrap_err().contains("12 digits"));
    }
}

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, BadSettings> {
    Settings::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    read(variables).unwrap_err().problems
}

#[test]
fn the_environment_of_the_original_is_taken_as_it_is() {
    let settings = read(&[
        ("_HANDLER", "index.replicate"),
        ("ReplicaTable", "orders"),
        ("ReplicaRegion", "eu-west-1"),
        ("ReplicaEndpoint", "http://localhost:4567"),
        ("ReplicaAccessKeyId", "id"),
        ("ReplicaSecretAccessKey", "secret"),
        ("TurnoverRole", "AFTER"),
        ("TurnoverAt", "1479728400000"),
        ("PrimaryTable", "orders"),
        ("PrimaryRegion", "us-east-1"),
        ("PrimaryEndpoint", ""),
        ("BackupBucket", "of-the-other-function"),
        ("AWS_REGION", "us-east-1"),
    ])
    .unwrap();

    let Function::Replicate { slaves, keys } = &settings.function else { panic!("{settings:?}") };
    assert_eq!(slaves.iter().map(|slave| slave.table.to_string()).collect::<Vec<_>>(), ["eu-west-1:orders"]);
    assert_eq!(slaves[0].access.endpoint_url.as_deref(), Some("http://localhost:4567"));
    assert_eq!(keys, &Some(Keys { id: "id".into(), secret: "secret".into() }));
    assert_eq!(settings.turnover, Some(Turnover::After(1_479_728_400_000)));
    assert_eq!(settings.master.unwrap().to_string(), "us-east-1:orders");
    assert_eq!(settings.master_access, Access::default());
}

#[test]
fn the_original_backup_is_taken_as_it_is() {
    let settings = read(&[
        ("_HANDLER", "index.backup"),
        ("BackupBucket", "mine"),
        ("BackupPrefix", "tables/"),
        ("BackupRegion", "eu-west-1"),
    ]);

    let store = StoreUrl::S3 { bucket: "mine".into(), prefix: "tables".into() };
    assert_eq!(settings.unwrap().function, Function::Backup { store, region: Some("eu-west-1".into()) });
}

#[test]
fn our_own_names_say_more() {
    let settings = read(&[
        ("DYNAMEND_FUNCTION", "replicate"),
        ("_HANDLER", "bootstrap"),
        ("DYNAMEND_MASTER", "us-east-1:orders"),
        ("DYNAMEND_SLAVES", "eu-west-1:orders, us-west-2/orders"),
        ("DYNAMEND_SLAVE_ROLE_ARN", "arn:aws:iam::1:role/writer"),
        ("DYNAMEND_SLAVE_EXTERNAL_ID", "agreed"),
        ("DYNAMEND_VERSION_ATTRIBUTE", "version"),
        ("DYNAMEND_ORIGIN_ATTRIBUTE", "origin"),
        ("DYNAMEND_REREAD", "60"),
        ("DYNAMEND_SKIP_REJECTED", "true"),
        ("DYNAMEND_PARTIAL_BATCHES", "true"),
    ])
    .unwrap();

    let Function::Replicate { slaves, keys: None } = &settings.function else { panic!("{settings:?}") };
    assert_eq!(slaves.len(), 2);
    assert!(slaves.iter().all(|slave| slave.access.external_id.as_deref() == Some("agreed")));
    assert_eq!(
        (settings.version_attribute.as_deref(), settings.origin_attribute.as_deref()),
        (Some("version"), Some("origin"))
    );
    assert_eq!(settings.reread, Some(Reread::OlderThan { ms: 60_000 }));
    assert_eq!((settings.rejected, settings.failures), (Rejected::Skip, Failures::OfRecord));
}

#[test]
fn all_problems_are_named_at_once() {
    let problems = problems(&[
        ("DYNAMEND_FUNCTION", "replicate"),
        ("ReplicaTable", "orders"),
        ("DYNAMEND_SLAVES", "orders"),
        ("ReplicaAccessKeyId", "id"),
        ("TurnoverRole", "LATER"),
        ("TurnoverAt", "1"),
        ("DYNAMEND_REREAD", "old"),
        ("DYNAMEND_SKIP_REJECTED", "yes"),
        ("DYNAMEND_SKIP_REJECT", "true"),
        ("DYNAMEND_BACKUP", "s3://bucket/prefix"),
    ]);

    for expected in [
        "ReplicaTable is set, and ReplicaRegion is not",
        "ReplicaTable and DYNAMEND_SLAVES say the same",
        "DYNAMEND_SLAVES: `orders` names no table",
        "ReplicaAccessKeyId is set, and ReplicaSecretAccessKey is not",
        "TurnoverRole is `LATER`",
        "DYNAMEND_REREAD is `old`",
        "DYNAMEND_SKIP_REJECTED is `yes`",
        "DYNAMEND_SKIP_REJECT is no variable",
        "DYNAMEND_BACKUP belongs to the function `backup`",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}: {problems:#?}");
    }
}

#[test]
fn a_function_without_a_name_or_a_target_does_not_start() {
    assert!(problems(&[])[0].contains("set DYNAMEND_FUNCTION"));
    assert!(problems(&[("_HANDLER", "bootstrap")])[0].contains("`bootstrap`"));
    assert!(problems(&[("_HANDLER", "replicate")])[0].contains("no table to write to"));
    assert!(problems(&[("_HANDLER", "backup")])[0].contains("no store to back up to"));
}

#[test]
fn a_table_is_never_replicated_into_itself() {
    let problems = problems(&[
        ("_HANDLER", "replicate"),
        ("DYNAMEND_MASTER", "us-east-1:orders"),
        ("DYNAMEND_SLAVES", "eu-west-1:orders,us-east-1/orders"),
    ]);

    assert_eq!(problems, ["us-east-1:orders is master and slave: its changes would never end"]);
}

#[test]
fn secrets_are_not_shown() {
    let keys = Keys { id: "id".into(), secret: "hidden".into() };

    assert!(!format!("{keys:?}").contains("hidden"));
}

#[test]
fn a_record_belongs_to_one_side_of_a_turnover() {
    for created_ms in [0, 999, 1000, 1001, i64::MAX] {
        assert_ne!(Turnover::Before(1000).takes(created_ms), Turnover::After(1000).takes(created_ms), "{created_ms}");
    }
    assert!(Turnover::After(1000).takes(1000));
}

//! One record of a table and its object in an incremental backup.

use std::sync::Arc;

use shared::domain::key::{Key, KeySchema};
use shared::journal::StoreUrl;
use shared::ports::table::{Readiness, Table};
use worker::plan::CannotPlan;
use worker::record::kept::ItemFolder;

use super::bad_key;
use crate::cli::record::KeptRecordArgs;
use crate::failure::Failure;
use crate::settings::Settings;

/// What a command has to do with a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It reads what is there.
    Read,
    /// It writes, and may be the first to do so.
    Write,
}

/// A record, its table and the backup.
pub(super) struct Record {
    pub(super) table: Arc<dyn Table>,
    pub(super) folder: ItemFolder,
    pub(super) schema: KeySchema,
    pub(super) key: Key,
    /// What the table is called.
    pub(super) name: String,
}

/// Opens both, and reads the key by the table's key schema, or by this one.
pub(super) async fn open(
    settings: &Settings,
    args: &KeptRecordArgs,
    schema: Option<&KeySchema>,
    access: Access,
) -> Result<Record, Failure> {
    let url: StoreUrl = args.dest.parse().map_err(|_| {
        Failure::usage(format!("`{}` is no place of a backup", args.dest), "give s3://BUCKET/PREFIX or a directory")
    })?;
    let url = url.absolute()?;
    let side = settings.side(&args.table, &args.access)?;
    Box::pin(settings.sign_in(&[&side], &args.access.mfa())).await?;
    let name = side.table.to_string();
    let environment = settings.environment();
    let table = environment.table(&side).await?;
    let schema = match schema {
        Some(schema) => schema.clone(),
        None => {
            let description = table.describe().await?;
            if let Readiness::NotReady(status) = description.readiness {
                return Err(CannotPlan::NotReady { table: name, status }.into());
            }
            description.key_schema
        }
    };
    let key = Key::parse(&schema, &args.key).map_err(|error| bad_key("the key", &args.key, &name, &schema, &error))?;
    if let (Access::Read, StoreUrl::Directory(path)) = (access, &url)
        && !path.is_dir()
    {
        return Err(Failure::failed(
            format!("there is no backup: {} is no directory", path.display()),
            "check the name; `dynamend record backup` makes the directory",
        ));
    }
    let store = environment.store(&url).await?;
    let folder = ItemFolder::new(store, side.table.name(), schema.clone());
    Ok(Record { table, folder, schema, key, name })
}

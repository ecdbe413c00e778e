//! What DynamoDB's own exports (`ExportTableToPointInTime`) say of themselves.
//!
//! Source: Amazon DynamoDB Developer Guide, "DynamoDB table export output format". An export is a folder
//! `PREFIX/AWSDynamoDB/EXPORT-ID/` with [`SUMMARY`], [`FILES`], and its lines, wrapped and packed with gzip, below
//! `data/`. The manifests name objects by their whole keys, so that an export that was copied is read by what lies beside
//! its summary.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

/// The object that describes an export.
pub const SUMMARY: &str = "manifest-summary.json";

/// The object that names the files of an export, which lies beside its summary.
pub const FILES: &str = "manifest-files.json";

/// An export of a whole table, in DynamoDB JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The table's ARN.
    pub table_arn: String,
    /// The moment that it shows (`2020-11-04T07:28:34.028Z`), where it says one.
    pub export_time: Option<String>,
    /// How many items it has.
    pub item_count: u64,
    /// The key below which its objects were put, with a `/` at its end; empty when it was at the top of its bucket.
    base: String,
}

/// One file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Its key when it was written.
    pub key: String,
    /// How many items it has.
    pub item_count: u64,
    /// The MD5 of its bytes as they are stored, that is of the packed ones.
    ///
    /// The guide does not say of which. But in its own example the entity tag, which S3 makes of an object of one part
    /// as the MD5 of the part's MD5, is that of `md5Checksum`.
    pub md5: [u8; 16],
}

/// Why an export cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExport {
    /// The summary is none.
    #[error("`{SUMMARY}` cannot be read: {0}")]
    BadSummary(String),
    /// A line of the list of files is none.
    #[error("line {line} of `{FILES}` cannot be read: {what}")]
    BadFiles {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It has changes, and not items.
    #[error(
        "it is an incremental export, which has the changes of a time and not the items of a table; \
         export the table with --export-type FULL_EXPORT"
    )]
    Incremental,
    /// It is of a kind that came after this version.
    #[error("it is an export of the type `{0}`, which is not known; export the table with --export-type FULL_EXPORT")]
    UnknownType(String),
    /// It is in another format.
    #[error("it is in the format `{0}`, which is not read here; export the table with --export-format DYNAMODB_JSON")]
    OtherFormat(String),
    /// The two manifests do not agree.
    #[error(
        "`{SUMMARY}` counts {summary} items, and `{FILES}` {files}; one of the two is not of this export, or not whole"
    )]
    Disagree {
        /// Items, as the summary says.
        summary: u64,
        /// Items of all files.
        files: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    table_arn: String,
    export_time: Option<String>,
    item_count: u64,
    #[serde(rename = "manifestFilesS3Key")]
    files_key: String,
    output_format: String,
    export_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    item_count: u64,
    md5_checksum: String,
    #[serde(rename = "dataFileS3Key")]
    key: String,
}

impl Export {
    /// Reads a summary.
    ///
    /// # Errors
    /// `BadExport` when it is none, or that of an export that is not read here.
    pub fn read(summary: &[u8]) -> Result<Self, BadExport> {
        let summary: Summary =
            serde_json::from_slice(summary).map_err(|error| BadExport::BadSummary(error.to_string()))?;
        // The first exports, of 2020, have no type; all of them are full.
        match summary.export_type.as_deref() {
            None | Some("FULL_EXPORT") => {}
            Some("INCREMENTAL_EXPORT") => return Err(BadExport::Incremental),
            Some(other) => return Err(BadExport::UnknownType(other.to_owned())),
        }
        if summary.output_format != "DYNAMODB_JSON" {
            return Err(BadExport::OtherFormat(summary.output_format));
        }
        let not_files = || BadExport::BadSummary(format!("`manifestFilesS3Key` does not end in `{FILES}`"));
        let base = summary.files_key.strip_suffix(FILES).ok_or_else(not_files)?.to_owned();
        let Summary { table_arn, export_time, item_count, .. } = summary;
        Ok(Self { table_arn, export_time, item_count, base })
    }

    /// Reads the list of its files.
    ///
    /// # Errors
    /// `BadExport` when a line is none, or they do not have as many items as the export.
    pub fn files(&self, list: &[u8]) -> Result<Vec<ExportFile>, BadExport> {
        let lines = list.split(|&byte| byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
        let files = lines.map(|(number, line)| {
            let bad = |what: String| BadExport::BadFiles { line: number + 1, what };
            let File { item_count, md5_checksum, key } =
                serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
            let md5 = BASE64.decode(&md5_checksum).ok().and_then(|bytes| bytes.try_into().ok());
            let md5 = md5.ok_or_else(|| bad("`md5Checksum` is no MD5 in base64".to_owned()))?;
            if name(&key).is_none() {
                return Err(bad("`dataFileS3Key` names no file".to_owned()));
            }
            Ok(ExportFile { key, item_count, md5 })
        });
        let files = files.collect::<Result<Vec<ExportFile>, _>>()?;
        let count = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.item_count));
        if count == self.item_count {
            Ok(files)
        } else {
            Err(BadExport::Disagree { summary: self.item_count, files: count })
        }
    }

    /// Where a file may lie, seen from the folder of the summary, most likely place first: where it was written to, and
    /// `data/` beside the summary.
    ///
    /// No place leads out of that folder, whatever the manifest says.
    #[must_use]
    pub fn places(&self, file: &ExportFile) -> Vec<String> {
        let written = file.key.strip_prefix(&self.base).filter(|path| stays_below(path)).map(str::to_owned);
        let beside = name(&file.key).map(|name| format!("data/{name}"));
        let mut places: Vec<String> = written.into_iter().chain(beside).collect();
        places.dedup();
        places
    }
}

/// The last part of a key, where it can be the name of a file.
fn name(key: &str) -> Option<&str> {
    key.rsplit('/').next().filter(|name| stays_below(name))
}

fn stays_below(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']))
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};

    use super::*;
    use crate::domain::item_object::hex;

    /// The examples of the Developer Guide.
    const GUIDE_SUMMARY: &str = r#"{
        "version": "2020-06-30",
        "exportArn": "arn:aws:dynamodb:us-east-1:123456789012:table/ProductCatalog/export/01234567890123-a1b2c3d4",
        "startTime": "2020-11-04T07:28:34.028Z",
        "endTime": "2020-11-04T07:33:43.897Z",
        "tableArn": "arn:aws:dynamodb:us-east-1:123456789012:table/ProductCatalog",
        "tableId": "12345a12-abcd-123a-ab12-1234abc12345",
        "exportTime": "2020-11-04T07:28:34.028Z",
        "s3Bucket": "ddb-productcatalog-export",
        "s3Prefix": "2020-Nov",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": null,
        "manifestFilesS3Key": "AWSDynamoDB/01693685827463-2d8752fd/manifest-files.json",
        "billedSizeBytes": 0,
        "itemCount": 8,
        "outputFormat": "DYNAMODB_JSON",
        "exportType": "FULL_EXPORT"
    }"#;
    const GUIDE_FILE: &str = r#"{"itemCount":8,"md5Checksum":"sQMSpEILNgoQmarvDFonGQ==","etag":"af83d6f217c19b8b0fff8023d8ca4716-1","dataFileS3Key":"AWSDynamoDB/01693685827463-2d8752fd/data/asdl123dasas.json.gz"}"#;
    const GUIDE_INCREMENTAL: &str = r#"{
        "version": "2023-08-01",
        "exportArn": "arn:aws:dynamodb:us-east-1:599882009758:table/export-test/export/01695097218000-d6299cbd",
        "startTime": "2023-09-19T04:20:18.000Z",
        "endTime": "2023-09-19T04:40:24.780Z",
        "tableArn": "arn:aws:dynamodb:us-east-1:599882009758:table/export-test",
        "tableId": "b116b490-6460-4d4a-9a6b-5d360abf4fb3",
        "exportFromTime": "2023-09-18T17:00:00.000Z",
        "exportToTime": "2023-09-19T04:00:00.000Z",
        "s3Bucket": "jason-exports",
        "s3Prefix": "20230919-prefix",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": null,
        "manifestFilesS3Key": "20230919-prefix/AWSDynamoDB/01693685934212-ac809da5/manifest-files.json",
        "billedSizeBytes": 20901239349,
        "itemCount": 169928274,
        "outputFormat": "DYNAMODB_JSON",
        "outputView": "NEW_AND_OLD_IMAGES",
        "exportType": "INCREMENTAL_EXPORT"
    }"#;

    fn export() -> Export {
        Export::read(GUIDE_SUMMARY.as_bytes()).unwrap()
    }

    fn changed(from: &str, to: &str) -> Result<Export, BadExport> {
        assert!(GUIDE_SUMMARY.contains(from), "{from}");
        Export::read(GUIDE_SUMMARY.replace(from, to).as_bytes())
    }

    #[test]
    fn the_example_of_the_guide_is_read() {
        let export = export();
        let files = export.files(format!("{GUIDE_FILE}\n").as_bytes()).unwrap();

        assert_eq!(export.table_arn, "arn:aws:dynamodb:us-east-1:123456789012:table/ProductCatalog");
        assert_eq!((export.item_count, export.export_time.as_deref()), (8, Some("2020-11-04T07:28:34.028Z")));
        let [file] = &files[..] else { panic!("{files:?}") };
        assert_eq!((file.item_count, hex(&file.md5)), (8, "b10312a4420b360a1099aaef0c5a2719".to_owned()));
        assert_eq!(export.places(file), ["data/asdl123dasas.json.gz"]);
    }

    #[test]
    fn the_checksum_of_the_guide_is_that_of_the_stored_bytes() {
        let file = export().files(GUIDE_FILE.as_bytes()).unwrap().remove(0);

        assert!(GUIDE_FILE.contains(&format!("{}-1", hex(&Md5::digest(file.md5)))));
    }

    #[test]
    fn an_export_of_2020_has_no_type_and_is_full() {
        assert_eq!(changed(",\n        \"exportType\": \"FULL_EXPORT\"", ""), Ok(export()));
    }

    #[test]
    fn what_cannot_be_restored_is_refused_and_says_what_to_do() {
        let refused = |export: Result<Export, BadExport>| export.unwrap_err().to_string();

        let incremental = refused(Export::read(GUIDE_INCREMENTAL.as_bytes()));
        assert!(incremental.contains("incremental") && incremental.contains("--export-type FULL_EXPORT"));
        let ion = refused(changed("DYNAMODB_JSON", "ION"));
        assert!(ion.contains("`ION`") && ion.contains("--export-format DYNAMODB_JSON"), "{ion}");
        let later = refused(changed("FULL_EXPORT", "SIDEWAYS_EXPORT"));
        assert!(later.contains("`SIDEWAYS_EXPORT`"), "{later}");
        for broken in [Export::read(b"{"), changed("tableArn", "arn"), changed("manifest-files.json", "elsewhere")] {
            assert!(matches!(broken, Err(BadExport::BadSummary(_))), "{broken:?}");
        }
    }

    #[test]
    fn a_list_of_files_that_is_broken_or_of_another_export_is_refused() {
        let list = |list: &str| export().files(list.as_bytes());
        let at =
            |line: usize| move |error: BadExport| matches!(error, BadExport::BadFiles { line: at, .. } if at == line);

        assert!(list(&format!("{GUIDE_FILE}\n{{\"itemCount\":1")).is_err_and(at(2)));
        assert!(list(&GUIDE_FILE.replace("sQMS", "!!!!")).is_err_and(at(1)));
        assert!(list(&GUIDE_FILE.replace("sQMSpEIL", "")).is_err_and(at(1)), "too short");
        for key in ["data/..", "data/", ""] {
            let broken = GUIDE_FILE.replace("AWSDynamoDB/01693685827463-2d8752fd/data/asdl123dasas.json.gz", key);
            assert!(list(&broken).is_err_and(at(1)), "{key}");
        }
        assert_eq!(list(""), Err(BadExport::Disagree { summary: 8, files: 0 }));
        assert_eq!(list(&[GUIDE_FILE; 2].join("\n")), Err(BadExport::Disagree { summary: 8, files: 16 }));
    }

    #[test]
    fn files_are_found_beside_the_summary_and_never_outside() {
        let prefixed = changed("AWSDynamoDB/0169", "2020-Nov/AWSDynamoDB/0169").unwrap();
        let folder = "2020-Nov/AWSDynamoDB/01693685827463-2d8752fd";
        for (export, key, places) in [
            (&prefixed, format!("{folder}/data/x.json.gz"), vec!["data/x.json.gz"]),
            (&prefixed, format!("{folder}/deeper/x.json.gz"), vec!["deeper/x.json.gz", "data/x.json.gz"]),
            (&prefixed, "elsewhere/x.json.gz".to_owned(), vec!["data/x.json.gz"]),
            (&prefixed, format!("{folder}/../../x.json.gz"), vec!["data/x.json.gz"]),
            (&prefixed, format!("{folder}//etc/passwd"), vec!["data/passwd"]),
            (&export(), format!("{folder}/data/x.json.gz"), vec!["data/x.json.gz"]),
        ] {
            let file = ExportFile { key, item_count: 1, md5: [0; 16] };

            assert_eq!(export.places(&file), places, "{}", file.key);
        }
    }
}

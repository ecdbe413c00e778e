//! How the objects of a job are encrypted at rest. What is named here is no secret: a kind, and the name of a key.

use serde::{Deserialize, Serialize};

/// Server-side encryption that is asked for with every object that is put; without it the bucket's default holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sse")]
pub enum Encryption {
    /// With keys that S3 manages.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key in AWS KMS.
    #[serde(rename = "aws:kms")]
    Kms {
        /// Its id, ARN or alias; without one, the key `aws/s3` of the account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
    },
    /// Twice, with a key in AWS KMS.
    #[serde(rename = "aws:kms:dsse")]
    KmsTwice {
        /// Its id, ARN or alias; without one, the key `aws/s3` of the account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
    },
}

impl Encryption {
    /// The name on the command line, and S3's own.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms { .. } => "aws:kms",
            Self::KmsTwice { .. } => "aws:kms:dsse",
        }
    }

    /// The key in AWS KMS, where one was named.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Aes256 => None,
            Self::Kms { key_id } | Self::KmsTwice { key_id } => key_id.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_written_under_the_name_that_s3_gives_it() {
        let key_id = Some("alias/jobs".to_owned());
        for (encryption, json) in [
            (Encryption::Aes256, json!({"sse": "AES256"})),
            (Encryption::Kms { key_id: None }, json!({"sse": "aws:kms"})),
            (Encryption::Kms { key_id: key_id.clone() }, json!({"sse": "aws:kms", "key_id": "alias/jobs"})),
            (Encryption::KmsTwice { key_id }, json!({"sse": "aws:kms:dsse", "key_id": "alias/jobs"})),
        ] {
            assert_eq!(serde_json::to_value(&encryption).unwrap(), json);
            assert_eq!(json["sse"], encryption.name());
            assert_eq!(serde_json::from_value::<Encryption>(json).unwrap(), encryption);
        }
        assert!(serde_json::from_value::<Encryption>(json!({"sse": "rot13"})).is_err());
    }
}

//! Listings of a folder's objects, in the order of their keys.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::found;
use crate::ports::objects::{ListPage, Listed, More};

/// Objects on a first page. Every page reads the names of the whole folder, so each is twice as big as the one before:
/// a range of the folder costs little, and all of it a few readings.
const FIRST_PAGE: usize = 4096;

/// Between a key and the size of the page behind it in a place; no key has it.
const PLACE: char = '\0';

/// The objects in a folder, and in those below it, behind a place.
pub(super) fn page(folder: &Path, prefix: &str, after: Option<&str>) -> io::Result<ListPage> {
    let place = after.and_then(|after| after.split_once(PLACE));
    let (after, size) = match place {
        Some((key, size)) => (Some(key), size.parse().unwrap_or(FIRST_PAGE)),
        None => (after, FIRST_PAGE),
    };
    page_of(folder, prefix, after, size)
}

fn page_of(folder: &Path, prefix: &str, after: Option<&str>, size: usize) -> io::Result<ListPage> {
    let mut objects = objects(folder, prefix, after, size.saturating_add(1))?;
    let is_cut = objects.len() > size;
    objects.truncate(size);
    let more = match objects.last() {
        Some(last) if is_cut => More::After(format!("{}{PLACE}{}", last.key, size.saturating_mul(2))),
        _ => More::No,
    };
    Ok(ListPage { objects, more })
}

/// The first objects in a folder, and in those below it, behind a key. What is deleted meanwhile may show or not.
pub(super) fn objects(folder: &Path, prefix: &str, after: Option<&str>, most: usize) -> io::Result<Vec<Listed>> {
    let mut objects = Vec::new();
    add_objects(folder, prefix, after, most, &mut objects)?;
    Ok(objects)
}

fn add_objects(
    folder: &Path,
    prefix: &str,
    after: Option<&str>,
    most: usize,
    objects: &mut Vec<Listed>,
) -> io::Result<()> {
    let is_before = |key: &str| match after {
        Some(after) if key.ends_with('/') => key < after && !after.starts_with(key),
        Some(after) => key <= after,
        None => false,
    };
    // The `/` behind a folder's name puts what is in it where it belongs among the keys beside it: behind `a-`.
    let mut keys = Vec::new();
    for entry in found(fs::read_dir(folder))?.into_iter().flatten() {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(kind) = found(entry.file_type())? else { continue };
        let end = if kind.is_dir() { "/" } else { "" };
        let key = format!("{prefix}{name}{end}");
        if !name.starts_with('.') && !is_before(&key) {
            keys.push(key);
        }
    }
    keys.sort_unstable();
    for key in keys {
        if objects.len() >= most {
            break;
        }
        let path = folder.join(key[prefix.len()..].trim_end_matches('/'));
        if key.ends_with('/') {
            add_objects(&path, &key, after, most, objects)?;
        } else if let Some(about) = found(fs::symlink_metadata(&path))? {
            let modified = Timestamp::try_from(about.modified()?).map_err(io::Error::other)?;
            objects.push(Listed { key, modified });
        }
    }
    Ok(())
}

/// The folders in a folder. As in S3, one without any object in it does not exist.
pub(super) fn folders_with_objects(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in found(fs::read_dir(path))?.into_iter().flatten() {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.file_type()?.is_dir() && holds_object(&entry.path())? {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn holds_object(folder: &Path) -> io::Result<bool> {
    for entry in found(fs::read_dir(folder))?.into_iter().flatten() {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && (!entry.file_type()?.is_dir() || holds_object(&entry.path())?) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 8] = ["a-", "a-/b", "a.b", "a/b", "a/b-c/d", "a/b0", "a0", "b"];

    fn keys(page: &ListPage) -> Vec<&str> {
        page.objects.iter().map(|listed| listed.key.as_str()).collect()
    }

    fn filled(keys: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for key in keys {
            let path = folder.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes_whatever_folders_they_are_in() {
        let keys_but_one: Vec<&str> = KEYS.into_iter().filter(|key| *key != "a-").collect();
        let folder = filled(&keys_but_one);
        fs::create_dir_all(folder.path().join("a/empty")).unwrap();
        fs::write(folder.path().join("a/.b.0.upload"), "").unwrap();

        let all = page(folder.path(), "", None).unwrap();

        assert_eq!(keys(&all), keys_but_one);
        assert_eq!(all.more, More::No);
        for after in KEYS.into_iter().chain(["", "a", "a/", "a/b-c/", "a/b-c/e", "a1", "c"]) {
            let behind: Vec<&str> = keys_but_one.iter().copied().filter(|key| *key > after).collect();
            assert_eq!(keys(&page(folder.path(), "", Some(after)).unwrap()), behind, "behind `{after}`");
        }
        assert_eq!(keys(&page(&folder.path().join("a"), "a/", Some("a/b")).unwrap()), ["a/b-c/d", "a/b0"]);
    }

    #[test]
    fn pages_follow_each_other_and_each_is_twice_as_big() {
        let names: Vec<String> = (10..24).map(|n| n.to_string()).collect();
        let folder = filled(&names.iter().map(String::as_str).collect::<Vec<_>>());

        let mut found = Vec::new();
        let mut page_sizes = Vec::new();
        let mut this = page_of(folder.path(), "", None, 2).unwrap();
        loop {
            page_sizes.push(this.objects.len());
            found.extend(keys(&this).into_iter().map(str::to_owned));
            let More::After(place) = &this.more else { break };
            this = page(folder.path(), "", Some(place)).unwrap();
        }

        assert_eq!(found, names);
        assert_eq!(page_sizes, [2, 4, 8], "a full last page has nothing behind it");
    }
}

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::text::embed::TopicEmbedder;
use crate::text::synthetic::{CATEGORY_WEIGHTS, VDB1, doc};
use crate::text::tokens::{term_hash, tokens};

fn synthetic(n: u64) -> impl Iterator<Item = IndexDoc<'static>> {
    (0..n).map(|i| {
        let doc = doc(42, VDB1, i, &CATEGORY_WEIGHTS);
        IndexDoc { id: Cow::Owned(format!("d_{i:06}")), text: Cow::Owned(doc.text), meta: doc.meta }
    })
}

fn plain<'a>(id: &'a str, text: &'a str) -> IndexDoc<'a> {
    IndexDoc { id: id.into(), text: text.into(), meta: DocMeta::plain(Category::General, "somewhere") }
}

struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.index");
    Place { folder, path }
}

fn embedder() -> TopicEmbedder {
    TopicEmbedder::new(128, 1.0, 0)
}

fn built(n: u64) -> Place {
    let place = place();
    build(&place.path, 128, "a label", synthetic(n), &embedder()).unwrap();
    place
}

#[test]
fn everything_written_is_read_back() {
    let place = built(200);
    let index = Index::open(&place.path).unwrap();
    assert_eq!((index.len(), index.dim(), index.label()), (200, 128, "a label"));
    for (row, doc) in synthetic(200).enumerate() {
        let vector = &embedder().embed(&[&doc.text]).unwrap()[0];
        assert_eq!((index.id(row), index.text(row)), (doc.id.as_ref(), doc.text.as_ref()));
        assert_eq!(index.meta(row), doc.meta);
        assert_eq!((index.row(row), index.norm2(row)), (vector.dims.as_slice(), vector.norm2));
        assert_eq!(index.token_count(row), 30);
        for token in tokens(&doc.text) {
            assert_eq!(index.doc_terms(row).tf(term_hash(&token)), 1);
        }
    }
}

#[test]
fn statistics_are_those_of_all_documents() {
    let place = place();
    let docs = [plain("1", "apple apple pear"), plain("2", "apple"), plain("3", "")];
    build(&place.path, 128, "", docs, &embedder()).unwrap();
    let index = Index::open(&place.path).unwrap();
    assert_eq!((index.documents(), index.avg_tokens()), (3, 4.0 / 3.0));
    assert_eq!([term_hash("apple"), term_hash("pear"), term_hash("plum")].map(|t| index.df(t)), [2, 1, 0]);
    assert_eq!(index.doc_terms(0).tf(term_hash("apple")), 2);
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let (a, b) = (built(50), built(50));
    assert_eq!(fs::read(a.path).unwrap(), fs::read(b.path).unwrap());
}

#[test]
fn an_index_without_documents_works() {
    let place = built(0);
    let index = Index::open(&place.path).unwrap();
    assert!(index.is_empty() && index.rows().is_empty());
    assert_eq!(index.avg_tokens(), 0.0);
}

#[test]
fn a_build_leaves_nothing_but_the_index() {
    let place = built(10);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_build_left_goes_with_the_next_and_what_is_being_built_stays() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".unfinished-killed"), "half").unwrap();
    fs::write(folder.path().join(".index-older"), "of a version that locks nothing").unwrap();
    let busy = fs::File::create(folder.path().join(".unfinished-busy")).unwrap();
    busy.lock().unwrap();
    build(&folder.path().join("x"), 128, "", [plain("x", "y")], &embedder()).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".index-older", ".unfinished-busy", "x"]);
}

#[test]
fn what_stands_in_the_place_of_the_lock_of_a_folder_is_neither_waited_for_nor_followed() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".lock");
    let refused = || lock(folder.path()).unwrap_err().to_string();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(refused().contains("it is not a regular file"), "{}", refused());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
    assert!(refused().contains("it is not a regular file"), "{}", refused());
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn what_stands_in_the_place_of_an_index_is_neither_waited_for_nor_followed() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = built(10);
    let (fifo, link) = (place.folder.path().join("fifo"), place.folder.path().join("link"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    for odd in [fifo, link] {
        let error = Index::open(&odd).unwrap_err().to_string();
        assert!(error.contains("it is not a regular file. Delete the file"), "{error}");
        build(&odd, 128, "", [plain("x", "y")], &embedder()).unwrap();
        assert_eq!(Index::open(&odd).unwrap().len(), 1);
    }
    assert_eq!(Index::open(&place.path).unwrap().len(), 10, "what the link led to is as it was");
}

#[test]
fn a_failed_build_leaves_the_old_index() {
    struct Broken;
    impl Embedder for Broken {
        fn embed(&self, _: &[&str]) -> Result<Vec<crate::vector::Quantised>, EndpointError> {
            Ok(Vec::new())
        }
        fn name(&self) -> String {
            "broken".into()
        }
        fn dimension(&self) -> usize {
            128
        }
    }
    let place = built(10);
    let error = build(&place.path, 128, "", [plain("x", "y")], &Broken).unwrap_err();
    assert_eq!(error.to_string(), "document \"x\": the embedder gave no fitting vector");
    assert_eq!(Index::open(&place.path).unwrap().len(), 10);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

#[test]
fn a_new_build_replaces_the_index_under_its_readers() {
    let place = built(10);
    let old = Index::open(&place.path).unwrap();
    build(&place.path, 128, "", [plain("x", "y")], &embedder()).unwrap();
    assert_eq!((old.len(), old.id(9)), (10, "d_000009"));
    assert_eq!(Index::open(&place.path).unwrap().id(0), "x");
}

#[test]
fn every_truncation_is_refused_with_a_remedy() {
    let place = built(5);
    let bytes = fs::read(&place.path).unwrap();
    for len in (0..bytes.len()).step_by(97) {
        fs::write(&place.path, &bytes[..len]).unwrap();
        let error = Index::open(&place.path).unwrap_err().to_string();
        assert!(error.contains("Delete the file"), "{error}");
    }
}

/// Every byte of the header, and every seventh of what follows, which comes by every place in a word.
#[test]
fn a_damaged_byte_is_noticed_wherever_it_is() {
    let place = built(3);
    let mut bytes = fs::read(&place.path).unwrap();
    for at in (0..HEADER).chain((HEADER..bytes.len()).step_by(7)) {
        bytes[at] ^= 0x40;
        fs::write(&place.path, &bytes).unwrap();
        assert!(matches!(Index::open(&place.path), Err(IndexError::Damaged { .. })), "byte {at}");
        bytes[at] ^= 0x40;
    }
}

#[test]
fn a_forged_file_with_right_checksums_is_refused() {
    let place = built(3);
    let bytes = fs::read(&place.path).unwrap();
    let header: Header = bytemuck::pod_read_unaligned(&bytes[..HEADER]);
    let records = header.sections[2][0] as usize;
    let sections = std::mem::offset_of!(Header, sections);
    let huge = u64::MAX.to_le_bytes();
    for at in (sections..sections + 112).chain(records..records + 48).step_by(8) {
        let mut forged = bytes.clone();
        forged[at..at + 8].copy_from_slice(&huge);
        let mut header: Header = bytemuck::pod_read_unaligned(&forged[..HEADER]);
        header.body_hash = xxh3_64(&forged[HEADER..]);
        header.header_hash = header.hash();
        forged[..HEADER].copy_from_slice(bytemuck::bytes_of(&header));
        fs::write(&place.path, &forged).unwrap();
        let float = (records + 32..records + 48).contains(&at);
        assert_eq!(Index::open(&place.path).is_err(), !float, "field at {at}");
    }
}

#[test]
fn a_missing_file_is_an_error_and_so_is_a_folder() {
    let place = place();
    assert!(matches!(Index::open(&place.path), Err(IndexError::Io { .. })));
    assert!(Index::open(place.folder.path()).is_err());
}

#[test]
fn a_dimension_that_the_embedder_lacks_is_refused() {
    let error = build(&place().path, 64, "", synthetic(1), &embedder()).unwrap_err();
    assert!(error.to_string().contains("dimension 64 does not fit"), "{error}");
}

#[test]
fn documents_that_cannot_be_read_leave_the_old_index() {
    let place = built(10);
    let unreadable = IndexError::Document { id: "x".into(), why: "unreadable".into() };
    let docs = synthetic(100).map(Ok).chain([Err(unreadable)]);
    let error = try_build(&place.path, 128, "", docs, &embedder()).unwrap_err();
    assert_eq!(error.to_string(), "document \"x\": unreadable");
    assert_eq!(Index::open(&place.path).unwrap().len(), 10);
}

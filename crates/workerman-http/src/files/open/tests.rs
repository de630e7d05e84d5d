use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A folder with a root in it, and something beside the root that nobody may have.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.root().join("a/b")).unwrap();
        fs::write(tree.root().join("a/b/file"), "inside").unwrap();
        fs::create_dir(tree.outside()).unwrap();
        fs::write(tree.outside().join("secret"), "outside").unwrap();
        tree
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    fn open(&self, path: &str, links: bool) -> io::Result<Entry> {
        let names: Vec<OsString> =
            path.split('/').filter(|name| !name.is_empty()).map(OsString::from).collect();
        open(&self.root(), &names, links)
    }

    fn content(&self, path: &str, links: bool) -> Option<String> {
        match self.open(path, links) {
            Ok(Entry::File(file, _)) => Some(io::read_to_string(file).unwrap()),
            Ok(Entry::Folder) => panic!("{path} is a folder"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error}");
                None
            }
        }
    }
}

#[test]
fn files_and_folders_are_told_apart() {
    let tree = Tree::new();
    assert_eq!(tree.content("a/b/file", false).as_deref(), Some("inside"));
    assert!(matches!(tree.open("a/b", false), Ok(Entry::Folder)));
    assert!(matches!(tree.open("", false), Ok(Entry::Folder)));
    assert_eq!(tree.content("a/none", true), None);
    assert_eq!(tree.open("a/b/file/more", true).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(open(&tree.root().join("none"), &["x".into()], true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn links_are_followed_only_inside_and_only_if_wished() {
    let tree = Tree::new();
    let root = tree.root();
    symlink("b/file", root.join("a/near")).unwrap();
    symlink(root.join("a/b/file"), root.join("absolute")).unwrap();
    symlink("a/b", root.join("folder")).unwrap();
    symlink("folder", root.join("chain")).unwrap();
    for path in ["a/near", "absolute", "folder/file", "chain/file"] {
        assert_eq!(tree.content(path, true).as_deref(), Some("inside"), "{path}");
        assert_eq!(tree.content(path, false), None, "{path}");
    }
    assert!(matches!(tree.open("chain", true), Ok(Entry::Folder)));
}

#[test]
fn links_that_lead_out_are_never_followed() {
    let tree = Tree::new();
    let root = tree.root();
    symlink("../../outside/secret", root.join("a/relative")).unwrap();
    symlink(tree.outside().join("secret"), root.join("absolute")).unwrap();
    symlink(tree.outside(), root.join("folder")).unwrap();
    symlink("folder", root.join("chain")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("/", root.join("top")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nowhere", root.join("broken")).unwrap();
    // A folder beside the root whose name begins like that of the root.
    fs::create_dir(tree.0.path().join("root2")).unwrap();
    fs::write(tree.0.path().join("root2/secret"), "outside").unwrap();
    symlink("../root2/secret", root.join("sibling")).unwrap();
    for path in [
        "a/relative",
        "absolute",
        "folder/secret",
        "chain/secret",
        "up/outside/secret",
        "top/etc/passwd",
        "broken",
        "sibling",
    ] {
        for links in [false, true] {
            assert_eq!(tree.content(path, links), None, "{path}");
        }
    }
    assert!(tree.open("loop", true).is_err() && tree.open("loop/x", true).is_err());
    // Out and in again is in: the result counts.
    symlink("../root/a/b/file", root.join("again")).unwrap();
    assert_eq!(tree.content("again", true).as_deref(), Some("inside"));
}

#[test]
fn the_root_may_be_a_link() {
    let tree = Tree::new();
    let link = tree.0.path().join("current");
    symlink("root", &link).unwrap();
    symlink("a/b", tree.root().join("folder")).unwrap();
    for path in ["a", "folder"] {
        let names = [OsString::from(path)];
        assert!(matches!(open(&link, &names, true), Ok(Entry::Folder)), "{path}");
    }
}

#[test]
fn only_regular_files_are_opened() {
    use std::os::unix::net::UnixListener;

    let tree = Tree::new();
    let _socket = UnixListener::bind(tree.root().join("socket")).unwrap();
    // A pipe without a writer: opening it would wait for ever.
    let pipe = tree.root().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    for path in ["socket", "pipe"] {
        assert_eq!(tree.content(path, true), None, "{path}");
        let error = open_named(&tree.root().join(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{path}");
    }
    assert!(open_named(&tree.root().join("a")).is_err());
    assert!(open_named(Path::new("/dev/null")).is_err());
    let (file, metadata) = open_named(&tree.root().join("a/b/file")).unwrap();
    assert_eq!((io::read_to_string(file).unwrap().len() as u64, "inside".len() as u64), (metadata.len(), 6));
}

/// Somebody swaps a folder for a link that leads out, as fast as he can, while it is asked for.
#[test]
fn a_race_never_leads_out() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let tree = Tree::new();
    let (root, done) = (tree.root(), AtomicBool::new(false));
    fs::create_dir(root.join("real")).unwrap();
    fs::write(root.join("real/secret"), "inside").unwrap();
    symlink(tree.outside(), root.join("link")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(root.join("real"), root.join("place")).unwrap();
                fs::rename(root.join("place"), root.join("real")).unwrap();
                fs::rename(root.join("link"), root.join("place")).unwrap();
                fs::rename(root.join("place"), root.join("link")).unwrap();
            }
        });
        for _ in 0..2000 {
            if let Ok(Entry::File(file, _)) = tree.open("place/secret", true) {
                assert_eq!(io::read_to_string(file).unwrap(), "inside");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

use super::*;

const LIFETIME: Duration = Duration::from_secs(1000);

struct Fixture {
    folder: tempfile::TempDir,
    store: FileStore,
    now: SystemTime,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("sessions")).unwrap();
        // Whole seconds: not every file system keeps more.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Self { folder, store, now }
    }

    /// Another process, as far as files can tell.
    fn other(&self) -> FileStore {
        FileStore::new(self.folder.path().join("sessions")).unwrap()
    }

    async fn saved(&self, data: &'static str) -> SessionId {
        let id = SessionId::random().unwrap();
        self.store.create(&id).save(data.into(), self.now + LIFETIME).await.unwrap();
        id
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("sessions")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn one_file_holds_one_session_for_its_owner_alone() {
    let fixture = Fixture::new();
    let id = fixture.saved("one").await;
    assert_eq!(fixture.names(), [format!("session_{}", id.as_str())]);
    let path = fixture.store.path(&id);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), fixture.now + LIFETIME);
}

#[tokio::test]
async fn a_crash_before_the_renaming_leaves_the_old_session() {
    let fixture = Fixture::new();
    let id = fixture.saved("old").await;
    let record = fixture.store.open(&id, fixture.now).await.unwrap().unwrap();
    // What `save` does, up to the moment of the crash: the new file is complete, and nobody removes it.
    let expires = fixture.now + 2 * LIFETIME;
    let unfinished = prepare(&fixture.store.folder, b"new", expires).unwrap();
    assert_eq!(fixture.store.load(&id, fixture.now).await.unwrap().unwrap(), "old");
    drop(unfinished.keep().unwrap());
    drop(record);

    let other = fixture.other();
    let record = other.open(&id, fixture.now).await.unwrap().unwrap();
    assert_eq!(record.data(), b"old");
    drop(record);
    // What is left over goes when it has expired, the session before it.
    assert_eq!(fixture.names().len(), 2);
    assert_eq!(other.collect(expires, 100).await.unwrap(), 1);
    assert!(fixture.names()[0].starts_with("tmp_"));
    assert_eq!(other.collect(expires + GRACE, 100).await.unwrap(), 1);
    assert_eq!(fixture.names(), [""; 0]);
}

#[tokio::test]
async fn who_waits_for_a_file_that_is_replaced_gets_the_new_one() {
    let fixture = Fixture::new();
    let id = fixture.saved("1").await;
    let path = fixture.store.path(&id);
    let now = fixture.now;
    let mut record = fixture.store.open(&id, now).await.unwrap().unwrap();
    // Opened before the file is replaced, locked afterwards.
    let old = open(&path, true).unwrap().unwrap();
    assert!(!lock(&old).unwrap());
    record.save("2".into(), now + LIFETIME).await.unwrap();
    assert!(lock(&old).unwrap() && !is_at(&old, &path).unwrap());
    // The new one is still the writer's.
    assert!(matches!(attempt(&path, now, 100), Ok(Attempt::Busy)));
    drop(record);
    let Ok(Attempt::Open { data, .. }) = attempt(&path, now, 100) else { panic!("it is free") };
    assert_eq!(data, "2");
}

#[tokio::test]
async fn who_waits_for_a_session_that_is_removed_finds_none() {
    let fixture = Fixture::new();
    let id = fixture.saved("1").await;
    let mut record = fixture.store.open(&id, fixture.now).await.unwrap().unwrap();
    let other = fixture.other();
    let waiting = other.open(&id, fixture.now);
    let removing = async {
        record.delete().await.unwrap();
        drop(record);
    };
    let (found, ()) = tokio::join!(waiting, removing);
    assert!(found.unwrap().is_none());
    assert_eq!(fixture.names(), [""; 0]);
}

#[tokio::test]
async fn a_save_that_is_given_up_keeps_the_session_until_it_is_done() {
    use std::future::poll_fn;
    use std::task::Poll;
    let fixture = Fixture::new();
    let id = fixture.saved("1").await;
    let mut record = fixture.store.open(&id, fixture.now).await.unwrap().unwrap();
    let given_up = {
        let mut save = record.save("2".into(), fixture.now + LIFETIME);
        // The thread that writes may be done before this one looks.
        poll_fn(|cx| Poll::Ready(save.as_mut().poll(cx).is_pending())).await
    };
    if given_up {
        assert!(record.touch(fixture.now).await.is_err(), "the record is of no use now");
    }
    drop(record);
    // Whoever comes next sees what was written, never what was before.
    let next = fixture.store.open(&id, fixture.now).await.unwrap().unwrap();
    assert_eq!(next.data(), b"2");
}

#[tokio::test]
async fn expired_sessions_are_collected_little_by_little_and_open_ones_never() {
    let fixture = Fixture::new();
    let open = fixture.saved("open").await;
    for _ in 0..9 {
        fixture.saved("expired").await;
    }
    fs::write(fixture.store.folder.join("other"), "").unwrap();
    let record = fixture.store.open(&open, fixture.now).await.unwrap().unwrap();
    let end = fixture.now + LIFETIME;
    assert_eq!(fixture.other().collect(end - Duration::from_secs(1), 100).await.unwrap(), 0);
    let mut removed = Vec::new();
    // Each file is passed within three rounds, wherever in the folder it is.
    for _ in 0..6 {
        removed.push(fixture.store.collect(end, 4).await.unwrap());
        assert!(removed.last() <= Some(&4));
    }
    assert_eq!(removed.iter().sum::<usize>(), 9, "{removed:?}");
    assert_eq!(fixture.names().len(), 2);
    drop(record);
    assert!(fixture.store.open(&open, end).await.unwrap().is_none());
    assert_eq!(fixture.names(), ["other"]);
}

#[tokio::test]
async fn strange_files_are_no_sessions() {
    let fixture = Fixture::new();
    let id = fixture.saved("secret").await;
    let now = fixture.now;
    // A link in the folder leads nowhere.
    let link = SessionId::random().unwrap();
    std::os::unix::fs::symlink(fixture.store.path(&id), fixture.store.path(&link)).unwrap();
    assert!(fixture.store.open(&link, now).await.is_err());
    assert!(fixture.store.load(&link, now).await.is_err());
    // An id that makes no name of a file.
    let long = SessionId::parse(&"a".repeat(256)).unwrap();
    assert!(fixture.store.open(&long, now).await.unwrap().is_none());
    assert!(fixture.store.load(&long, now).await.unwrap().is_none());
    // More than is read.
    let small = fixture.store.clone().max_size(5);
    for result in [small.open(&id, now).await.map(drop), small.load(&id, now).await.map(drop)] {
        assert!(matches!(result, Err(StoreError::TooLarge { limit: 5 })));
    }
    assert_eq!(fixture.store.load(&id, now).await.unwrap().unwrap(), "secret");
}

#[tokio::test]
async fn no_lock_is_left_behind() {
    let fixture = Fixture::new();
    let id = fixture.saved("1").await;
    drop(fixture.store.open(&id, fixture.now).await.unwrap());
    assert!(fixture.store.open(&SessionId::random().unwrap(), fixture.now).await.unwrap().is_none());
    assert_eq!(fixture.store.locks.len(), 0);
}

//! How much a form may be.

use std::path::{Path, PathBuf};

/// How much a form may be, and where its files go.
///
/// What exceeds a limit ends the form with [`TooLarge`](super::MultipartError::TooLarge), which is answered with 413.
///
/// # Examples
/// ```
/// use workerman_http::multipart::Limits;
/// let limits = Limits::new().max_parts(20).max_file(5 << 30).max_total(6 << 30);
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) parts: usize,
    pub(super) files: usize,
    pub(super) head: usize,
    pub(super) name: usize,
    pub(super) outside: u64,
    pub(super) field: u64,
    pub(super) file: u64,
    pub(super) total: u64,
    pub(super) memory: usize,
    pub(super) spool_above: usize,
    pub(super) spool_in: Option<PathBuf>,
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most parts, fields and files together. Default 1024.
    #[must_use]
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }

    /// Most parts with a file name. Default 1024; 0 for a form without files.
    #[must_use]
    pub fn max_files(mut self, files: usize) -> Self {
        self.files = files;
        self
    }

    /// Most bytes in the head of a part. Default 8 KiB.
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.head = bytes;
        self
    }

    /// Most bytes in the name of a field and in the name of a file, each. Default 1 KiB.
    #[must_use]
    pub fn max_name(mut self, bytes: usize) -> Self {
        self.name = bytes;
        self
    }

    /// Most bytes before the first boundary, and as many behind the last. Default 64 KiB.
    #[must_use]
    pub fn max_outside(mut self, bytes: u64) -> Self {
        self.outside = bytes;
        self
    }

    /// Most bytes in the value of a field. Default 64 KiB.
    #[must_use]
    pub fn max_field(mut self, bytes: u64) -> Self {
        self.field = bytes;
        self
    }

    /// Most bytes in a file. Default 64 MiB.
    #[must_use]
    pub fn max_file(mut self, bytes: u64) -> Self {
        self.file = bytes;
        self
    }

    /// Most bytes in the whole body, boundaries and heads included. Default 64 MiB.
    #[must_use]
    pub fn max_total(mut self, bytes: u64) -> Self {
        self.total = bytes;
        self
    }

    /// Most bytes that a [`Form`](super::Form) keeps in memory: heads, values, small files. Default 1 MiB.
    ///
    /// Files take at most half of it and go to disk beyond that; a field that does not fit is too large.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// A file of more bytes than this goes to disk. Default 64 KiB; 0 sends there every file that is not empty.
    #[must_use]
    pub fn spool_above(mut self, bytes: usize) -> Self {
        self.spool_above = bytes;
        self
    }

    /// The folder of the temporary files. Default: that of the system.
    ///
    /// One on the file system where the files shall stay makes [`persist`](super::Upload::persist) a renaming.
    #[must_use]
    pub fn spool_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool_in = Some(folder.into());
        self
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        self.spool_in.as_deref()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parts: 1024,
            files: 1024,
            head: 8 << 10,
            name: 1 << 10,
            outside: 64 << 10,
            field: 64 << 10,
            file: 64 << 20,
            total: 64 << 20,
            memory: 1 << 20,
            spool_above: 64 << 10,
            spool_in: None,
        }
    }
}

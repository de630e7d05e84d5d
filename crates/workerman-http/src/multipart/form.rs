//! A whole form, once it has arrived.

use workerman_protocol::http::{BadRequest, FormValue, Request};

use super::{Limits, Multipart, MultipartError, Upload};

/// A whole form: its fields in memory, its files in memory or on disk.
///
/// A file input in which nothing was chosen arrives as a part with an empty file name and no data; it is left out.
#[derive(Debug, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
    files: Vec<Upload>,
}

impl Form {
    /// Reads the form of a request, whose body is taken out.
    ///
    /// # Errors
    /// The request has no form, or the form is malformed, exceeds a limit, or broke off; a file could not be written.
    /// Files that had come are removed.
    pub async fn read(request: &mut Request, limits: Limits) -> Result<Self, MultipartError> {
        Self::collect(Multipart::of(request, limits)?).await
    }

    /// Reads what is left of a form.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn collect(mut parts: Multipart) -> Result<Self, MultipartError> {
        let limits = parts.limits.clone();
        let mut room = limits.memory;
        let too_large = || MultipartError::TooLarge { what: "bytes in memory", limit: limits.memory as u64 };
        let mut form = Self::default();
        while let Some(mut part) = parts.next_part().await? {
            room = room.checked_sub(part.weight()).ok_or_else(too_large)?;
            if part.is_file() {
                // Half is left to what cannot go to disk: heads and fields.
                let threshold = limits.spool_above.min(room.saturating_sub(limits.memory / 2));
                let upload = part.upload_above(threshold).await?;
                room -= upload.bytes().map_or(0, bytes::Bytes::len);
                if upload.size() > 0 || upload.file_name() != Some("") {
                    form.files.push(upload);
                }
            } else {
                // The limit of a field is kept by the parser.
                let text = part.text(room).await.map_err(|error| match error {
                    MultipartError::TooLarge { what: "bytes of a part", .. } => too_large(),
                    other => other,
                })?;
                room -= text.len();
                form.fields.push((part.name().to_owned(), text));
            }
        }
        Ok(form)
    }

    /// The value of a field; the last one, if it came several times.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field, in their order.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields().filter(move |(own, _)| *own == name).map(|(_, value)| value)
    }

    /// All fields that are no files, in their order: names and values.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All fields that are no files, with nested names: `a[]` appends to a list, `a[k]` sets a key, by the rules of
    /// [`Request::php_form`].
    ///
    /// # Errors
    /// As there: too many fields, or too many levels in a name.
    pub fn php_fields(&self) -> Result<FormValue, BadRequest> {
        FormValue::nested(self.fields())
    }

    /// The file of a field; the last one, if there are several.
    pub fn file(&self, name: &str) -> Option<&Upload> {
        self.files.iter().rfind(|file| file.name() == name)
    }

    /// Takes the file of a field out, to keep it; the last one, if there are several.
    pub fn take_file(&mut self, name: &str) -> Option<Upload> {
        let at = self.files.iter().rposition(|file| file.name() == name)?;
        Some(self.files.remove(at))
    }

    /// All files, in their order.
    pub fn files(&self) -> &[Upload] {
        &self.files
    }

    /// Takes all files out, in their order.
    pub fn take_files(&mut self) -> Vec<Upload> {
        std::mem::take(&mut self.files)
    }
}

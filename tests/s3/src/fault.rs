//! Decides which request fails, and how. Pure.

use http::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are S3's own names")]
pub enum Operation {
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    ListObjects,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    Other,
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; a status and an error code are answered.
    Answer(u16, &'static str),
    /// Nothing is done; status 200 is answered, with an error in the body.
    ErrorBody(&'static str),
    /// So many bytes of the body are read, then the connection is cut. Nothing is done.
    Cut(usize),
    /// The request is read and never answered. Nothing is done.
    BlackHole,
    /// All is done; then a status and an error code are answered.
    DoneThenAnswer(u16, &'static str),
    /// All is done; then status 200 is answered, with an error in the body.
    DoneThenErrorBody(&'static str),
    /// All is done; then the connection is cut without an answer.
    DoneThenCut,
    /// All is done and never answered.
    DoneThenBlackHole,
    /// The request is read, and done once the server is healed.
    Held,
    /// The request is read; once the server is healed, a status and an error code are answered. Nothing is done.
    HeldThenAnswer(u16, &'static str),
    /// All is done; the answer comes once the server is healed.
    DoneThenHeld,
    /// All is done, and of what is stored a byte is other than it was sent; its checksum is that of what is stored.
    Changed,
}

/// A fault and the requests that it happens to.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    operation: Option<Operation>,
    key_contains: &'static str,
    skip: usize,
    times: usize,
}

impl Fault {
    /// To every request of an operation.
    pub fn on(self, operation: Operation) -> Rule {
        Rule { operation: Some(operation), ..self.on_all() }
    }

    /// To every request.
    pub fn on_all(self) -> Rule {
        Rule { fault: self, operation: None, key_contains: "", skip: 0, times: usize::MAX }
    }
}

impl Rule {
    /// Only to requests whose key contains this; `dump` leaves the markers of probes alone.
    #[must_use]
    pub fn where_key(mut self, contains: &'static str) -> Self {
        self.key_contains = contains;
        self
    }

    /// Not to the first so many of them.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Only to so many of them.
    #[must_use]
    pub fn times(mut self, requests: usize) -> Self {
        self.times = requests;
        self
    }

    /// Whether it happens to this request; counts.
    fn applies(&mut self, operation: Operation, path: &str) -> bool {
        if self.operation.is_some_and(|wanted| wanted != operation) || !path.contains(self.key_contains) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let applies = self.times > 0;
        self.times = self.times.saturating_sub(1);
        applies
    }
}

/// What happens to a request.
pub(crate) fn choose(rules: &mut [Rule], operation: Operation, path: &str) -> Option<Fault> {
    rules.iter_mut().find_map(|rule| rule.applies(operation, path).then(|| rule.fault.clone()))
}

/// What a request asks for, by method, path (`/bucket/key`) and query.
pub(crate) fn operation(method: &Method, path: &str, query: &str) -> Operation {
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let object = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match (method.as_str(), object) {
        ("PUT", true) if has("partNumber") => Operation::UploadPart,
        ("PUT", true) => Operation::PutObject,
        ("GET", true) => Operation::GetObject,
        ("HEAD", true) => Operation::HeadObject,
        ("DELETE", true) if has("uploadId") => Operation::AbortMultipartUpload,
        ("DELETE", true) => Operation::DeleteObject,
        ("POST", true) if has("uploads") => Operation::CreateMultipartUpload,
        ("POST", true) if has("uploadId") => Operation::CompleteMultipartUpload,
        ("GET", false) if has("uploads") => Operation::ListMultipartUploads,
        ("GET", false) if has("list-type") => Operation::ListObjects,
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_skip_count_and_are_used_up() {
        let mut rules = [
            Fault::BlackHole.on(Operation::PutObject).where_key("dump").after(1).times(2),
            Fault::DoneThenCut.on_all().times(1),
        ];
        let happens: Vec<_> = ["/b/dump", "/b/dump", "/b/other", "/b/dump", "/b/dump"]
            .map(|path| choose(&mut rules, Operation::PutObject, path))
            .into();
        assert_eq!(
            happens,
            [Some(Fault::DoneThenCut), Some(Fault::BlackHole), None, Some(Fault::BlackHole), None]
        );
    }
}

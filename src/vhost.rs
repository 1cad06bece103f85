//! The nouns of routing, each parsed once and valid ever after.
//!
//! What a client or a store wrote becomes a [`Host`], a [`Frontend`] or a [`Backend`] here, at the
//! edge; everything behind compares and never parses again.

mod backend;
mod host;
mod options;

use std::rc::Rc;

pub use backend::{Backend, BackendError, BackendHost, Scheme};
pub use host::{Host, HostError};
pub use options::{Options, OptionsError};

/// The list of a frontend: identifier first, then backends.
#[derive(Debug)]
pub struct Frontend {
    /// The key that matched, without `frontend:`: the host itself or a wildcard.
    pub key: Box<str>,
    /// The identifier, free text: for logs and `X-Debug` only.
    pub vhost: Box<str>,
    /// The backends in the order of the list; the index is the [`BackendId`].
    pub backends: Vec<Entry>,
}

impl Frontend {
    /// Builds a frontend from the elements of its list, the identifier first. `None` when the list
    /// is empty: to Redis such a list does not exist.
    pub fn from_list<'a>(key: &str, list: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut list = list.into_iter();
        let vhost = list.next()?.into();
        Some(Self {
            key: key.into(),
            vhost,
            backends: list.map(Entry::parse).collect(),
        })
    }

    /// The backend with this id, if there is one and it is a URL.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Rc<Backend>> {
        match self.backends.get(id)? {
            Entry::Backend(backend) => Some(backend),
            Entry::Invalid(_) => None,
        }
    }
}

/// One element of a frontend's list.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A backend.
    Backend(Rc<Backend>),
    /// Something that is no URL, kept so that later indexes stay true.
    Invalid(Box<str>),
}

impl Entry {
    /// Parses one element of a list; what is no URL is kept as it is.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match Backend::parse(text) {
            Ok(backend) => Self::Backend(Rc::new(backend)),
            Err(_) => Self::Invalid(text.into()),
        }
    }
}

/// The place of a backend in its frontend's list, counted from 0 after the identifier.
pub type BackendId = usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_a_frontend_and_keeps_its_indexes() {
        let list = ["id", "http://a:1", "nonsense", "http://b"];
        let frontend = Frontend::from_list("a.test", list).unwrap();
        assert_eq!(&*frontend.vhost, "id");
        assert_eq!(&*frontend.key, "a.test");
        assert_eq!(frontend.backends.len(), 3);
        assert_eq!(&*frontend.backend(0).unwrap().url, "http://a:1/");
        assert!(frontend.backend(1).is_none());
        assert!(matches!(&frontend.backends[1], Entry::Invalid(text) if &**text == "nonsense"));
        assert_eq!(frontend.backend(2).unwrap().port, 80);
        assert!(frontend.backend(3).is_none());
    }

    #[test]
    fn an_empty_list_is_no_frontend_but_an_identifier_alone_is() {
        assert!(Frontend::from_list("a.test", []).is_none());
        let alone = Frontend::from_list("a.test", ["id"]).unwrap();
        assert!(alone.backends.is_empty());
    }
}

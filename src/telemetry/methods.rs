//! The methods that are told by their names: the same ones in spans and in labels.

use super::names::METHODS;

/// What all others are called.
const OTHER: &str = "_OTHER";

/// The methods that are known, each with a place: those of the conventions have the same one
/// whatever is configured, so what was counted before a change of it keeps its name.
#[derive(Clone, Debug)]
pub(crate) struct Methods {
    /// By place, with whether it is told.
    all: Vec<(Box<str>, bool)>,
}

impl Methods {
    /// These.
    pub(crate) fn new(known: &[String]) -> Self {
        let is_known = |name: &str| known.iter().any(|one| one == name);
        let usual = METHODS.map(|name| (name.into(), is_known(name) && name != OTHER));
        let more = known
            .iter()
            .filter(|name| !METHODS.contains(&name.as_str()))
            .map(|name| (name.as_str().into(), true));
        Self {
            all: usual.into_iter().chain(more).collect(),
        }
    }

    /// The place of a method.
    pub(super) fn place(&self, method: &str) -> usize {
        let mut all = self.all.iter();
        let found = all.position(|(name, is_told)| *is_told && **name == *method);
        found.unwrap_or(METHODS.len() - 1)
    }

    /// What a place is called.
    pub(crate) fn name(&self, place: usize) -> &str {
        self.all.get(place).map_or(OTHER, |(name, _)| name)
    }

    /// What a method is called.
    pub(super) fn told(&self, method: &str) -> &str {
        self.name(self.place(method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_have_their_names_and_places_of_their_own() {
        let methods = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Methods::new(&names)
        };
        let cases = [
            (methods(&["GET", "POST"]), "GET", 0, "GET"),
            (methods(&["POST"]), "GET", 10, "_OTHER"),
            (methods(&["GET", "PURGE"]), "PURGE", 11, "PURGE"),
            (methods(&["GET"]), "PURGE", 10, "_OTHER"),
            (methods(&["GET"]), "get", 10, "_OTHER"),
            (methods(&["_OTHER"]), "_OTHER", 10, "_OTHER"),
        ];
        for (methods, method, place, name) in cases {
            assert_eq!(methods.place(method), place, "{methods:?} {method}");
            assert_eq!(methods.told(method), name, "{methods:?} {method}");
        }
        assert_eq!(methods(&[]).name(200), "_OTHER");
    }
}

//! Whom a proxy that was started as root becomes.
//!
//! As in the original the group is named as the user where the file does not say; where no such
//! group exists, as for `nobody` on Debian, it is the user's own group (the original crashed).

use nix::unistd::{Gid, Group, Uid, User};

use super::Identity;
use super::findings::Findings;
use super::values::Account;

/// The users of which the first that exists is the default in a quick start, where none can be
/// named; a configuration file has the first as its default.
pub(super) const DEFAULT_USERS: [&str; 2] = ["www-data", "nobody"];

/// The user and group that a proxy started as root becomes; `None` when it is to stay root.
pub(super) fn resolve(
    user: Option<Account>,
    group: Option<Account>,
    findings: &mut Findings,
) -> Option<Identity> {
    let user = user.unwrap_or_else(|| Account::Name(DEFAULT_USERS[0].to_owned()));
    let group = group.filter(|group| *group != Account::Name(String::new()));
    let Some((name, uid, own_group)) = find_user(&user, findings) else {
        // All that is wrong is told at once.
        let _ = group.and_then(|group| find_group(&group, findings));
        return None;
    };
    if uid.is_root() {
        findings.warning("user", "the workers keep all rights of root");
        if group.is_some() {
            findings.warning("group", "not used, because the user is root");
        }
        return None;
    }
    let gid = match group {
        Some(group) => find_group(&group, findings)?,
        None => default_group(&name, own_group, findings)?,
    };
    Some(Identity {
        user: name,
        uid: uid.as_raw(),
        gid: gid.as_raw(),
    })
}

/// The identity of a quick start.
pub(super) fn default(findings: &mut Findings) -> Option<Identity> {
    let exists = |name: &&str| User::from_name(name).is_ok_and(|user| user.is_some());
    let user = DEFAULT_USERS.into_iter().find(exists);
    resolve(
        user.map(|name| Account::Name(name.to_owned())),
        None,
        findings,
    )
}

/// Name, number and own group. A number needs no account.
fn find_user(user: &Account, findings: &mut Findings) -> Option<(String, Uid, Option<Gid>)> {
    let found = match user {
        Account::Name(name) if name.is_empty() => {
            findings.error(
                "user",
                "empty: started as root, a user to become is needed (`root` stays root)",
            );
            return None;
        }
        Account::Name(name) => User::from_name(name),
        Account::Id(id) => User::from_uid(Uid::from_raw(*id)),
    };
    match (found, user) {
        (Ok(Some(user)), _) => Some((user.name, user.uid, Some(user.gid))),
        (Ok(None), Account::Id(id)) => Some((id.to_string(), Uid::from_raw(*id), None)),
        (Ok(None), Account::Name(name)) => {
            findings.error(
                "user",
                format_args!(
                    "no user is named {name:?}, an existing one is needed to start as root"
                ),
            );
            None
        }
        (Err(error), _) => {
            findings.error(
                "user",
                format_args!("the system's list of users: {}", error.desc()),
            );
            None
        }
    }
}

fn find_group(group: &Account, findings: &mut Findings) -> Option<Gid> {
    let name = match group {
        Account::Name(name) => name,
        Account::Id(id) => return Some(Gid::from_raw(*id)),
    };
    match Group::from_name(name) {
        Ok(Some(group)) => return Some(group.gid),
        Ok(None) => findings.error("group", format_args!("no group is named {name:?}")),
        Err(error) => findings.error(
            "group",
            format_args!("the system's list of groups: {}", error.desc()),
        ),
    }
    None
}

fn default_group(user: &str, own: Option<Gid>, findings: &mut Findings) -> Option<Gid> {
    let named = Group::from_name(user).ok().flatten().map(|group| group.gid);
    let gid = named.or(own);
    if gid.is_none() {
        findings.error(
            "group",
            format_args!("missing: user {user} has no account that would tell its group"),
        );
    }
    gid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Option<Account> {
        Some(Account::Name(name.to_owned()))
    }

    #[test]
    fn group_is_named_or_the_users_own() {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let own = Group::from_name("nobody")
            .unwrap()
            .map_or(nobody.gid, |group| group.gid);
        let daemon = Group::from_name("daemon").unwrap().unwrap().gid;
        let table = [
            (name("nobody"), None, own.as_raw()),
            (name("nobody"), name(""), own.as_raw()),
            (name("nobody"), name("daemon"), daemon.as_raw()),
            (name("nobody"), Some(Account::Id(4242)), 4242),
            (Some(Account::Id(nobody.uid.as_raw())), None, own.as_raw()),
        ];
        for (user, group, gid) in table {
            let mut findings = Findings::default();
            let identity = resolve(user.clone(), group.clone(), &mut findings);
            let expected = Identity {
                user: "nobody".into(),
                uid: nobody.uid.as_raw(),
                gid,
            };
            assert_eq!(identity, Some(expected), "{user:?} {group:?} {findings:?}");
        }
    }

    #[test]
    fn number_without_account_needs_a_group() {
        let mut findings = Findings::default();
        let user = Some(Account::Id(424_242));
        assert_eq!(resolve(user.clone(), None, &mut findings), None);
        assert!(findings.has_errors());
        let identity = resolve(user, Some(Account::Id(7)), &mut Findings::default());
        assert_eq!(
            identity,
            Some(Identity {
                user: "424242".into(),
                uid: 424_242,
                gid: 7
            })
        );
    }

    #[test]
    fn root_stays_root_with_a_warning_and_nobody_else_is_an_error() {
        let table = [
            (
                name("root"),
                None,
                "user: the workers keep all rights of root",
                false,
            ),
            (Some(Account::Id(0)), name("x"), "group: not used", false),
            (name(""), None, "user: empty: started as root", true),
            (
                name("no-such-user"),
                None,
                "user: no user is named \"no-such-user\"",
                true,
            ),
            (
                name("nobody"),
                name("no-such-group"),
                "group: no group is named",
                true,
            ),
            (
                name("no-such-user"),
                name("no-such-group"),
                "group: no group is named",
                true,
            ),
        ];
        for (user, group, expected, is_error) in table {
            let mut findings = Findings::default();
            assert_eq!(resolve(user, group, &mut findings), None, "{expected}");
            let last = findings.iter().last().unwrap();
            assert!(last.to_string().starts_with(expected), "{last}");
            assert_eq!(last.is_error(), is_error, "{last}");
        }
    }
}

//! Who besides root may use a node: the members of the group `knarr`, as with MicroK8s' group.
//!
//! A static program cannot ask NSS: the files are read. Groups of a directory service are not seen.

use crate::paths::Paths;
use nix::errno::Errno;
use nix::unistd::{Gid, chown, getegid, geteuid, getgroups, getuid};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

/// The group, which packages make.
const GROUP: &str = "knarr";

/// Lets the group use the administrator's kubeconfig and the server's socket. Nothing changes where there is no such
/// group, or the server is not root.
pub fn share(paths: &Paths) {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let Some((gid, _)) = group(&groups) else { return };
    if !geteuid().is_root() {
        return;
    }
    for (path, mode) in [(paths.kubeconfig(), 0o640), (paths.state_file(), 0o640), (paths.socket(), 0o660)] {
        if !path.exists() {
            continue;
        }
        let shared = chown(&path, None, Some(gid)).map_err(std::io::Error::from);
        if let Err(error) =
            shared.and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(mode)))
        {
            tracing::warn!(%error, path = %path.display(), "the group {GROUP} cannot use this");
        }
    }
}

/// What somebody who was refused is to do; nothing when that was not why a command failed.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    let refused = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io == Some(ErrorKind::PermissionDenied)
            || matches!(cause.downcast_ref::<Errno>(), Some(Errno::EPERM | Errno::EACCES))
    });
    if !refused || geteuid().is_root() {
        return None;
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user(&users, getuid().as_raw()).or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let mut own = getgroups().unwrap_or_default();
    own.push(getegid());
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Some(advice(&groups, &user, &own, &command))
}

fn advice(groups: &str, user: &str, own: &[Gid], command: &str) -> String {
    match group(groups) {
        Some((gid, _)) if own.contains(&gid) => {
            format!("This needs root: sudo knarr {command}")
        }
        Some((_, members)) if members.contains(&user) => {
            format!("You are in the group {GROUP} since you logged in; for this shell: newgrp {GROUP}")
        }
        Some(_) => format!(
            "You may not use Knarr here. Once, and then log in again:\n    sudo usermod -a -G {GROUP} {user}"
        ),
        None => format!("You may not use Knarr here. Run it as root: sudo knarr {command}"),
    }
}

/// Id and members of the group, out of the text of `/etc/group` (group(5)).
fn group(text: &str) -> Option<(Gid, Vec<&str>)> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter_map(|fields| match fields.as_slice() {
            [GROUP, _, gid, members] => {
                Some((Gid::from_raw(gid.parse().ok()?), members.split(',').collect()))
            }
            _ => None,
        })
        .next()
}

/// The name of a user, out of the text of `/etc/passwd` (passwd(5)).
fn user(text: &str, uid: u32) -> Option<String> {
    let mut fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)))?;
    found.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outsider_is_told_the_one_command_that_lets_them_in() {
        let groups = "root:x:0:\nknarr:x:990:ada,bob\nknarrs:x:991:eve\n";
        let own = [Gid::from_raw(1000)];
        let told = advice(groups, "eve", &own, "status");
        assert!(told.ends_with("sudo usermod -a -G knarr eve"), "{told}");
        assert!(advice(groups, "ada", &own, "status").ends_with("newgrp knarr"));
        let member = [Gid::from_raw(990)];
        assert_eq!(advice(groups, "ada", &member, "stop"), "This needs root: sudo knarr stop");
        assert!(advice("root:x:0:\n", "eve", &own, "status").ends_with("sudo knarr status"));
    }

    #[test]
    fn names_and_ids_are_read_without_nss() {
        let (gid, members) = group("a:x:1:\nknarr:x:990:\n").unwrap();
        assert_eq!((gid.as_raw(), members), (990, vec![""]));
        assert_eq!(group("knarr\nknarr:x:y:z"), None);
        assert_eq!(user("root:x:0:0::/root:/bin/sh\neve:x:1001:1001:::\n", 1001).as_deref(), Some("eve"));
        assert_eq!(user("", 1), None);
    }

    #[test]
    fn other_failures_give_no_hint() {
        assert_eq!(hint(&anyhow::anyhow!("no")), None);
    }
}

//! Bans by tag and pattern.

use super::*;

/// Hides what has a tag, by bans after the position that begins with this byte.
struct TagBan(&'static str, u8);

impl KnownBans for TagBan {
    fn permit(&self, since: &BanPosition, _: &BanPosition, _: &str, tags: &[String]) -> bool {
        since[0] >= self.1 || !tags.iter().any(|tag| tag == self.0)
    }
}

fn confirm_all(near: &NearCache, generation: u8, bans: TagBan) {
    let mut position = [0; 24];
    position[0] = bans.1;
    let state = MarkerState { generation: [generation; 16], position };
    let bans: Arc<dyn KnownBans> = Arc::new(bans);
    for UnconfirmedMarkers { namespace, shards } in near.unconfirmed_markers() {
        for shard in shards {
            near.confirm_marker(&namespace, shard, Some(state), &bans);
        }
    }
    assert!(near.unconfirmed_markers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_ban_removes_the_copies_that_it_hides_and_no_others() {
    let near = coherent(MIB);
    confirm_all(&near, 1, TagBan("", 0));
    let insert = |name: &str, tag: &str| {
        let table = near.table(&namespace("ns")).unwrap();
        let tagged = Entry { tags: vec![tag.to_owned()].into(), ..entry(name.to_owned()) };
        table.reserve(&key(name)).unwrap().insert(tagged);
    };
    insert("a", "x");
    insert("b", "y");
    near.on_ban(&namespace("ns"));
    near.on_ban(&namespace("other"));
    assert_eq!((read(&near, "a"), read(&near, "b")), (None, None), "the ban is not known yet");
    confirm_all(&near, 1, TagBan("x", 1));
    assert_eq!((read(&near, "a"), read(&near, "b")), (None, Some(Bytes::from("b"))));
    near.invalidate_shard("ns", key("b").shard(u64::from(SHARDS)));
    confirm_all(&near, 1, TagBan("y", 1));
    assert_eq!(read(&near, "b").unwrap(), "b", "it is not compared with old bans again");
    // Another generation.
    near.on_ban(&namespace("ns"));
    confirm_all(&near, 2, TagBan("", 1));
    assert_eq!(read(&near, "b"), None);
}

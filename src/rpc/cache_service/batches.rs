//! The calls for several keys.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tonic::{Request, Response, Status};

use super::{CacheRpc, RpcResult};
use crate::{
    cache::{self, BatchGet, BatchGetOrFetch, Durability, SetCommand},
    model::EntryKey,
    pb::{from_duration, v1 as pb},
    rpc::{
        access::Access,
        audit_trail::AuditTrail,
        batch_stream::{self, ResponseStream},
        batch_with_options::{BatchWithOptions, FetchWithOptions},
        compression::Compression,
        convert,
        fetch_batch::FetchBatch,
        lease_quota::end_filled_lease,
        load_limits::MustNotWait,
        schema::Schema,
        status,
    },
};

impl CacheRpc {
    pub(super) async fn serve_batch_get_or_fetch(
        &self,
        request: Request<pb::BatchGetOrFetchRequest>,
    ) -> RpcResult<ResponseStream<pb::BatchGetOrFetchResponse>> {
        let deadline = self.deadline(request.metadata())?;
        let must_not_wait = request.extensions().get::<MustNotWait>().is_some();
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let mut request = request.into_inner();
        let would_wait = request.wait != Some(from_duration(Duration::ZERO));
        if must_not_wait {
            request.wait = Some(from_duration(Duration::ZERO));
        }
        let unwaited = (must_not_wait && would_wait).then(|| self.limits.clone());
        let keys = self.batch_keys(&request.keys, &schema)?;
        access.check_keys(&keys, request.only_if_cached)?;
        let options = convert::batch_fetch_options(&mut request, keys.len())?;
        if options.as_ref().is_some_and(|options| options.touch.is_some()) {
            access.check_slides(&keys)?;
        }
        let params = std::mem::take(&mut request.keys).into_iter().map(|key| key.params);
        let counted = if access.quota().is_some() { keys.clone() } else { Vec::new() };
        let keys = keys.into_iter().zip(params).collect();
        let template = convert::get_or_fetch_template(&request, deadline)?;
        let batch = BatchGetOrFetch::new(self.cache.clone(), keys, template)?;
        let batch = FetchBatch::new(batch, unwaited, access, counted);
        Ok(Response::new(match options {
            None => batch_stream::responses(batch, deadline),
            Some(options) => {
                batch_stream::responses(FetchWithOptions::new(batch, options), deadline)
            }
        }))
    }

    pub(super) async fn serve_batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> RpcResult<ResponseStream<pb::BatchGetResponse>> {
        let deadline = self.deadline(request.metadata())?;
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys, &schema)?;
        access.check_keys(&keys, false)?;
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let options = convert::batch_read_options(request)?;
        if options.as_ref().is_some_and(|options| options.touch.is_some()) {
            access.check_slides(&keys)?;
        }
        let batch = BatchGet::new(self.cache.clone(), keys, max_stale, consistency)?;
        Ok(Response::new(match options {
            None => batch_stream::responses(batch, deadline),
            Some(options) => {
                batch_stream::responses(BatchWithOptions::new(batch, options), deadline)
            }
        }))
    }

    pub(super) async fn serve_batch_set(
        &self,
        request: Request<pb::BatchSetRequest>,
    ) -> RpcResult<pb::BatchSetResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let access = Access::of(&request);
        let commands = self.batch_commands(request.into_inner().items, &access, &schema)?;
        let results: Vec<Result<_, cache::Error>> =
            join_all(commands.iter().map(|command| self.cache.set_checked(command))).await;
        for (command, result) in commands.iter().zip(&results) {
            end_filled_lease(&access, command, result);
        }
        let results = results.into_iter().map(|result| result.map(convert::set_response));
        let results = results.collect::<Result<_, _>>()?;
        let mut response = Response::new(pb::BatchSetResponse { results });
        compression.fit(&mut response);
        Ok(response)
    }

    pub(super) async fn serve_batch_delete(
        &self,
        request: Request<pb::BatchDeleteRequest>,
    ) -> RpcResult<pb::BatchDeleteResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys, &schema)?;
        trail.keys(&keys);
        access.check_keys(&keys, false)?;
        let deletions = convert::deletions(&request)?;
        let required = convert::required_durability(request.required_durability)?;
        let deletes = keys.iter().zip(&deletions).map(|(key, with)| self.delete_one(key, with));
        let results = try_join_all(deletes).await?;
        trail.deletes(results.iter());
        status::check_durability(
            required,
            Durability::of_all(results.iter().map(|result| result.durability)),
        )?;
        let durabilities = results.iter().map(|result| convert::durability(result.durability));
        let mut response = Response::new(pb::BatchDeleteResponse {
            existed: results.iter().map(|result| result.existed).collect(),
            deleted: results.iter().map(|result| result.deleted).collect(),
            durabilities: durabilities.collect(),
        });
        compression.fit(&mut response);
        Ok(response)
    }

    fn batch_keys(&self, keys: &[pb::KeyRef], schema: &Schema) -> Result<Vec<EntryKey>, Status> {
        self.check_batch_size("keys", keys.len())?;
        let mut keys = convert::entry_keys(keys)?;
        if !schema.is_none() {
            keys.iter_mut().for_each(|key| schema.apply(key));
        }
        Ok(keys)
    }

    /// Validates all items, so that an invalid item fails the batch before any other is stored.
    fn batch_commands(
        &self,
        items: Vec<pb::SetRequest>,
        access: &Access,
        schema: &Schema,
    ) -> Result<Vec<SetCommand>, Status> {
        self.check_batch_size("items", items.len())?;
        let mut commands = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = || format!("items[{index}].");
            let mut command = convert::set_command(item).map_err(|error| error.within(&path()))?;
            access.check_set(&command, Some(index))?;
            schema.apply(&mut command.key);
            self.cache.check(&command).map_err(|error| error.within(&path()))?;
            commands.push(command);
        }
        Ok(commands)
    }
}

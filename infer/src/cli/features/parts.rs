//! Shards that other processes of this machine compute.

use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::features::{Begun, FeatureJob, Latents};
use ddae_infer::workers::Workers;
use serde_json::json;

use super::request::{FeatureRequest, Shared, Sharing};
use super::{Arguments, GRAPHS, interrupted, latents};
use crate::cli::progress::Progress;
use crate::cli::several::{Pieces, Work, Worked, Worker};

/// Has `count` processes compute the shards of a job that remain when it begins, which is when all can; what has begun is to be
/// finished.
///
/// # Errors
/// As [`Work::share_out`].
pub(super) fn share_out(
    job: &FeatureJob,
    request: &FeatureRequest,
    arguments: &Arguments,
    count: usize,
    progress: impl FnOnce(usize) -> Progress,
) -> anyhow::Result<(Begun, Worked)> {
    let stays = match arguments.overwrite {
        true => "finished shards stay, and the same command without --overwrite goes on",
        false => "finished shards stay, and the same command goes on",
    };
    let shared = serde_json::to_value(request.shared())?;
    let mut begun = None;
    let begin = || -> anyhow::Result<Pieces> {
        let remaining = &begun.insert(job.begin()?).remaining;
        let pieces = remaining.iter().map(|shard| json!(shard)).collect();
        Ok(Pieces { pieces, images: request.rows(remaining) })
    };
    let worked = Work { shared, processes: count, stays }.share_out(begin, progress);
    let worked = worked.map_err(|error| match error.downcast() {
        Ok(error) => interrupted(error, arguments.overwrite),
        Err(error) => error,
    })?;
    if let Some(images) = request.extraction.source.images() {
        images.saw(&worked.sizes);
    }
    Ok((begun.ok_or(InferError::Thread)?, worked))
}

/// Computes what the process that started this one gives it.
///
/// # Errors
/// As a job of one process.
pub(super) fn work(arguments: &Arguments) -> anyhow::Result<()> {
    let worker = Worker::begin();
    let shared: Shared = worker.shared()?;
    let (running, device) = (&arguments.running, arguments.running.device()?);
    let model = running.open(&arguments.model, &GRAPHS, "features")?;
    let latents = arguments.latents.as_deref().map(|path| latents::open(path, arguments)).transpose()?;
    let advise = |error: InferError| arguments.skip.advise(error.into());
    let sharing = Sharing::Of(shared);
    let request = FeatureRequest::new(arguments, &model, latents.as_ref(), device, sharing, None);
    let request = request.map_err(advise)?;
    let job = request.job(arguments);
    let extraction = &request.extraction;
    // No shard is larger by more than one.
    let rows = request.layout.total.div_ceil(request.shards);
    let threads = running.threads(extraction.passes(rows));
    let before = latents.as_ref().and_then(Latents::graph_path);
    let mut workers = Workers::open_after(&model.path, before, device, threads)?;
    worker.ready(workers.sessions());
    while let Some(shard) = worker.next()? {
        let computed = job.compute(&mut workers, shard, worker.stop(), |images| worker.passed(images));
        workers.take_notes().into_iter().for_each(|note| worker.note(format!("note: {note}")));
        worker.done(computed.map_err(advise)?);
    }
    worker.end(extraction.source.images().map(Split::sizes_seen).unwrap_or_default());
    Ok(())
}

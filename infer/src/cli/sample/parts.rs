//! Images that other processes of this machine draw.

use ddae_infer::InferError;
use ddae_infer::sample::ImageFolder;
use ddae_infer::workers::Workers;
use ddae_onnx::metadata::GraphKind;
use ddae_store::shard_rows;
use serde_json::json;

use super::outputs::Outputs;
use super::request::SampleRequest;
use super::{Arguments, interrupted, still_missing};
use crate::cli::progress::Progress;
use crate::cli::several::{Pieces, Work, Worked, Worker};

/// Has `count` processes draw the images that are missing into the folder of the outputs, which are opened when all can begin and
/// are to be finished. `missing` are the seeds among `seeds` that seem to be.
///
/// # Errors
/// As [`Work::share_out`].
pub(super) fn share_out(
    arguments: &Arguments,
    request: &SampleRequest,
    (seeds, missing): (&[u64], &[u64]),
    count: usize,
    progress: impl FnOnce(usize) -> Progress,
) -> anyhow::Result<(Outputs, Worked)> {
    let stays = match arguments.overwrite {
        true => "the images drawn so far stay, and the same command without --overwrite goes on",
        false => "the images drawn so far stay, and the same command goes on",
    };
    // So many images for each, at most.
    let shared = json!(missing.len().div_ceil(count.max(1)));
    let mut outputs = None;
    let begin = || -> anyhow::Result<Pieces> {
        outputs = Some(Outputs::open(arguments, request, request.shape)?);
        // Another run may have drawn some until now.
        let missing = still_missing(arguments, request, seeds)?;
        let parts = count.max(1).min(missing.len());
        let part = |part| json!(&missing[shard_rows(missing.len(), part, parts)]);
        Ok(Pieces { pieces: (0..parts).map(part).collect(), images: missing.len() })
    };
    let worked = Work { shared, processes: count, stays }.share_out(begin, progress);
    let worked = worked.map_err(|error| match error.downcast() {
        Ok(error) => interrupted(error, arguments),
        Err(error) => error,
    })?;
    Ok((outputs.ok_or(InferError::Thread)?, worked))
}

/// Draws what the process that started this one gives it, into the folder that it has open.
///
/// # Errors
/// As a run of one process.
pub(super) fn work(arguments: &Arguments) -> anyhow::Result<()> {
    let worker = Worker::begin();
    let most: usize = worker.shared()?;
    let (running, device) = (&arguments.running, arguments.running.device()?);
    let model = running.open(&arguments.model, &[GraphKind::Sampler], "sample")?;
    let request = SampleRequest::new(arguments, &model, device)?;
    let path = arguments.output.as_deref().ok_or(InferError::Thread)?;
    let folder = ImageFolder::of_another(path, request.shape);
    let mut workers = Workers::open(&model.path, device, running.threads(most))?;
    worker.ready(workers.sessions());
    while let Some(seeds) = worker.next::<Vec<u64>>()? {
        let passed = |images| worker.passed(images);
        let put = |seed, levels: &[u8]| folder.write(seed, levels);
        let drawn = request.draw(&mut workers, &seeds, running.batch(), worker.stop(), passed, put);
        workers.take_notes().into_iter().for_each(|note| worker.note(format!("note: {note}")));
        drawn?;
        worker.done(seeds.len());
    }
    worker.end(Vec::new());
    Ok(())
}

"""The public names, and where each is defined. `invreg/__init__.py` imports a name when it is first used."""

from .api import (
    certify as certify,
    load as load,
    redraw as redraw,
    run as run,
    run_job as run_job,
    verify as verify,
)
from .benchmarks.benchmark import Benchmark as Benchmark, benchmark as benchmark
from .components.analyzer import Analyzer as Analyzer, CompletedRun as CompletedRun, Findings as Findings
from .components.architecture import Architecture as Architecture, Layer as Layer, Skip as Skip, Stage as Stage
from .components.back_projection import (
    FILTER_WINDOWS as FILTER_WINDOWS,
    FilterWindow as FilterWindow,
    HasFilteredBackProjection as HasFilteredBackProjection,
)
from .components.certificate import (
    StabilityCertificate as StabilityCertificate,
    certificate_content as certificate_content,
    smallest as smallest,
)
from .components.dataset import (
    ImageDataset as ImageDataset,
    ImageStack as ImageStack,
    MeasuredDataset as MeasuredDataset,
    MeasuredStack as MeasuredStack,
    Splits as Splits,
)
from .components.events import Events as Events
from .components.executor import Executor as Executor, Job as Job, Watch as Watch
from .components.hookspecs import INTERFACE_VERSION as INTERFACE_VERSION, hookimpl as hookimpl
from .components.image_quality import (
    SSIM_WINDOW as SSIM_WINDOW,
    mean_squared_error as mean_squared_error,
    peak_signal_to_noise_ratio as peak_signal_to_noise_ratio,
    structural_similarity as structural_similarity,
)
from .components.metric import Metric as Metric
from .components.named_classes import NamedClass as NamedClass, TakesNamedClasses as TakesNamedClasses
from .components.noise import Noise as Noise
from .components.operator import (
    Linearization as Linearization,
    LinearOperator as LinearOperator,
    NormalOperator as NormalOperator,
    NormEstimate as NormEstimate,
    Operator as Operator,
    PulledBackOperator as PulledBackOperator,
    Shape as Shape,
    UnknownOperator as UnknownOperator,
    require_images as require_images,
    require_known as require_known,
)
from .components.problem import Problem as Problem
from .components.pull_back import PullBack as PullBack
from .components.reconstructor import (
    ActsOnLiftedStates as ActsOnLiftedStates,
    BoundedReconstruction as BoundedReconstruction,
    CertifiesStability as CertifiesStability,
    DescribesArchitecture as DescribesArchitecture,
    FinalisesWeights as FinalisesWeights,
    FollowsTraining as FollowsTraining,
    HasLocalForwardMap as HasLocalForwardMap,
    LearnsDenoiser as LearnsDenoiser,
    LearnsForwardMap as LearnsForwardMap,
    Reconstructor as Reconstructor,
    ReconstructsWithBound as ReconstructsWithBound,
)
from .components.stored_images import StoredImages as StoredImages
from .components.study_analyzer import CompletedStudy as CompletedStudy, StudyAnalyzer as StudyAnalyzer
from .components.tiles import reconstruct_in_tiles as reconstruct_in_tiles, reconstruct_within as reconstruct_within
from .components.trainer import (
    Method as Method,
    TrainedMethod as TrainedMethod,
    Trainer as Trainer,
    TrainingContext as TrainingContext,
    TrainingLog as TrainingLog,
    never_stop as never_stop,
    search_choices as search_choices,
    search_range as search_range,
)
from .components.training_images import TrainingImages as TrainingImages, TrainingPairs as TrainingPairs
from .computing.compiled import compiled_library as compiled_library
from .computing.cores import available_cores as available_cores
from .computing.device import choose_device as choose_device
from .computing.interruption import hold_signals as hold_signals, interrupt as interrupt, signal_heard as signal_heard
from .computing.memory import memory_guard as memory_guard, require_memory as require_memory
from .computing.processes import Processes as Processes, processes as processes
from .computing.streams import generator as generator, stream_key as stream_key
from .errors import (
    BoundViolation as BoundViolation,
    CertificateError as CertificateError,
    ConvergenceError as ConvergenceError,
    ConvergenceWarning as ConvergenceWarning,
    DataError as DataError,
    ExecutorError as ExecutorError,
    InvregError as InvregError,
    InvregWarning as InvregWarning,
    OutOfMemory as OutOfMemory,
    PluginError as PluginError,
    ProcessError as ProcessError,
    ShapeError as ShapeError,
    SpecError as SpecError,
    StoreError as StoreError,
    TrainingError as TrainingError,
    did_you_mean as did_you_mean,
    recorded_warnings as recorded_warnings,
)
from .files import cache_folder as cache_folder, write_whole as write_whole
from .imaging.finding import find_images as find_images
from .imaging.gathering import file_identity as file_identity, gather_images as gather_images, to_tensors as to_tensors
from .imaging.reading import ImageFile as ImageFile, read_image as read_image, read_volume as read_volume
from .imaging.samples import Pixels as Pixels, to_unit as to_unit
from .imaging.writing import write_image as write_image
from .models.export import export_model as export_model
from .models.hub import pull_model as pull_model, push_model as push_model
from .models.loading import load_model as load_model
from .models.model import Model as Model, Reconstruction as Reconstruction
from .models.training import train as train
from .plugins.registry import Registry as Registry, plain_form as plain_form, spec_of as spec_of
from .schema.component import Component as Component
from .schema.constraints import LeftOut as LeftOut, Odd as Odd
from .schema.parameters import parameters_model as parameters_model
from .schema.signature import built_with as built_with
from .slices import as_pictures as as_pictures
from .specs.spec import Spec as Spec
from .storage.analysis_folder import AnalysisFolder as AnalysisFolder
from .storage.method_folder import MethodFolder as MethodFolder
from .storage.result import MethodResult as MethodResult, Result as Result, StudyResult as StudyResult
from .storage.run_folder import RunFolder as RunFolder
from .storage.study_cell import StudyCell as StudyCell

__version__: str

"""What the command line advises where the library gives a remedy in Python words."""

from __future__ import annotations

from jamtools.errors import JamError, Remedy

#: Every remedy, in the words of the shell.
SHELL_WORDS = {
    # of records, or of several packages
    Remedy.FLOAT64: "use --dtype float64",
    Remedy.OTHER_DEVICE: "run it on another --device",
    Remedy.LARGER_DATASET: "make a larger one with jam-data",
    Remedy.TRAIN_AGAIN: "train it again with jam-train",
    Remedy.EXACT_SPECTRUM: "run jam-hessian with --method exact and without --only and --inertia",
    Remedy.LANCZOS_OR_MORE_MEMORY: "use --method lanczos, or give more --max-memory",
    Remedy.CONVERT_ARRAYS: "convert it with jam-data arrays",
    Remedy.SHOW_FIELDS: "jam-show prints all fields",
    Remedy.RUNS_OF_ONE_DATASET: "choose runs of one dataset with --where, or write a file for each",
    Remedy.NO_TEST_SET: "leave them out with --drop test",
    # data
    Remedy.KEEP_OFF_SPHERE: "use --no-sphere",
    Remedy.FEWER_COMPONENTS: "lower --pca",
    Remedy.FEWER_PATTERNS: "lower -P",
    Remedy.LABEL_RULE: "for 0 and 1 add --labels parity, for class numbers --labels classes",
    # network
    Remedy.PLAIN_NETWORK: "train with --no-batch-norm",
    Remedy.ON_CPU: "try --device cpu",
    # linalg
    Remedy.EIGENVALUES_INSTEAD_OF_SIGNS: "use jam-hessian without --inertia",
    Remedy.FEWER_EIGENVALUES: "ask for fewer",
    Remedy.FLOAT64_OR_LEAVE_OUT: "use --dtype float64, or leave the run out",
    # engines
    Remedy.TORCH_ENGINE_AND_REPORT: "use --engine torch and report it",
    # cusps
    Remedy.LOWER_TOLERANCE: "lower --tolerance",
    # hessian
    # minima
    Remedy.WITHOUT_CURVATURE: "leave the curvature out with --no-curvature",
    Remedy.ADAM: "use --optimizer adam",
    Remedy.APPROACH_FIRST: "make them with jam-approach first",
    Remedy.FIXED_NORM: "train it with jam-train --norm 3x",
    # training
    Remedy.TORCH_ENGINE: "use --engine torch",
    Remedy.NO_NEIGHBOUR_LIST: "leave out --neighbour-list",
    Remedy.SMALLER_RUN: "take fewer --patterns, a smaller --width or --dtype float32",
    Remedy.NO_BATCH_OR_SMALLER_RUN: "use --engine torch, one run at a time, or take fewer --patterns, "
    "a smaller --width or --dtype float32",
    # exponents
    Remedy.FINISH_DESCENT: "train them longer, finish them with jam-train --finish, or give --lower-cut",
    Remedy.KEEP_DEAD: "add --dead keep to use dead ones too",
    # transition
    Remedy.COLD_SEARCH: "search with --cold",
    Remedy.JAMMED_SPECTRA: "take jammed runs, without jam-hessian --only",
    Remedy.MORE_STEPS_OR_WIDTH: "give them more --steps or a larger --max-width",
    Remedy.SEARCH_AGAIN: "make it with jam-nstar search",
    Remedy.SEARCH_TIMES: "search with --times {time}",
    # io
    Remedy.ANOTHER_CHECKPOINT: "remove it or give another --checkpoint",
    Remedy.ALL_RUNS_OF_CHECKPOINT: "ask for all its runs, and more if you like, or remove it, or give another --checkpoint",
    Remedy.ANOTHER_JOURNAL: "remove it or give another --journal",
    Remedy.ANOTHER_PLACE_FOR_CHECKPOINT: "give another --checkpoint",
    Remedy.ANOTHER_PLACE_FOR_JOURNAL: "give another --journal",
    Remedy.RESUME_JOURNAL: "continue it with --resume, or remove it, or give another --journal",
    Remedy.MAKE_DATASET: "make one with jam-data",
    Remedy.TRAIN_FIRST: "pipe it through jam-train first",
    Remedy.COMPUTE_SPECTRA_FIRST: "pipe it through jam-hessian first",
    Remedy.SEARCH_FIRST: "make them with jam-nstar search",
    Remedy.READ_ARRAYS: "load arrays with jam-data arrays",
    Remedy.CHECK_WHAT_WROTE_IT: "did the command before it fail?",
    Remedy.JSON_OF_JAMTOOLS: "expected what another jam command printed",
    Remedy.NAME_A_FILE: "give -o a file",
    Remedy.PUT_OR_DOWNLOAD_IMAGES: "put {files} into {folder}, or add --download to fetch MNIST",
    Remedy.ONE_TEST_SET: "leave --test-arrays out",
}


def in_shell_words(error: JamError) -> str:
    """The message of an error, with its remedy as an option or a command."""
    if error.remedy is None:
        return error.text
    return f"{error.text}; {SHELL_WORDS[error.remedy].format(**error.details)}"

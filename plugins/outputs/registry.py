"""Which module makes which kind of output; a module is imported only when such an output is configured."""

from importlib import import_module

from auditline.plugins.outputs.api import Output, OutputContext
from auditline.workers.common.errors import SettingsError
from auditline.workers.common.settings import OutputSettings

_KINDS = {
    "stdout": "auditline.plugins.outputs.stdout:StdoutOutput",
    "segments": "auditline.plugins.outputs.segments:SegmentsOutput",
    "elasticsearch": "auditline.plugins.outputs.elasticsearch:ElasticsearchOutput",
}


def open_output(settings: OutputSettings, context: OutputContext) -> Output:
    """Open the output that *settings* describe.

    Raises:
        SettingsError: there is no such kind of output.
        StorageError: stdout is closed.
    """
    place = _KINDS.get(settings.type)
    if place is None:
        kinds = ", ".join(_KINDS)
        raise SettingsError([f'outputs.{settings.name}.type must be one of {kinds}, not "{settings.type}"'])
    module, _, name = place.partition(":")
    output: Output = getattr(import_module(module), name)(settings, context)
    if not (settings.include or settings.exclude or settings.add):
        return output
    from auditline.plugins.outputs.filtering import FilteredOutput

    return FilteredOutput(output, settings, context.counters)

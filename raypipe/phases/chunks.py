from raypipe.models import StepFailure
def split_failures(results):
    flat=[x for r in results for x in (r if isinstance(r,(list,tuple)) else [r])]
    return tuple(x for x in flat if not isinstance(x,StepFailure)), tuple(x for x in flat if isinstance(x,StepFailure))
def merge_chunks(beats, results): return tuple(sorted(results,key=lambda c:c.beat_index))

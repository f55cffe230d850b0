from raypipe.models import *
def build_full_spec(request, video_id, log_dir, followers_per_reference=1):
    n=int((request.duration or 30)/5)
    return Spec(title="t",prompt=request.prompt or "p",archetype="a",duration=n*5,size=request.size or Size(width=1280,height=720),style="c",mood="calm",seed=request.seed or 0,provider=request.provider or "local",options=request.options or {},followers_per_reference=1,beats=tuple(Beat(beat_index=i,beat_id="x",start=i*5,duration=5,prompt=request.prompt or "p",shot_type="wide",camera_movement="pan left") for i in range(n)))

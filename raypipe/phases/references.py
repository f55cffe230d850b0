from raypipe.models import Sequence
def group_sequences(beats, followers_per_reference=1):
    out=[]
    i=0
    while i<len(beats):
        j=i+1
        f=[]
        while j<len(beats) and len(f)<followers_per_reference and beats[j].continues is not False: f.append(beats[j]); j+=1
        out.append(Sequence(reference=beats[i],followers=tuple(f))); i=j
    return tuple(out)
def describe(s): return []

"""Long pieces on a tiny cascade: sections, any length, from any sample on, loops, and what goes on from a recording."""

import weakref
from dataclasses import replace

import pytest
import soundfile
import torch

import mousai
from mousai.diffusion.windows import JointDenoiser
from mousai.pipelines.long_form import Lead, Rendering
from mousai.pipelines.settled import DEFAULT_WINDOW, resolved
from mousai.request.piece import Piece, Section

RATE, HOP = 48000, 1024
METHODS = ("joint", "continuation")


@pytest.fixture(scope="module")
def cascade(tiny_cascade):
    return mousai.load(tiny_cascade, "cpu")


def piece(*seconds, prompts=("slow piano", "fast guitar", "calm dance", "noise"), **settings) -> Piece:
    sections = [Section(prompts[index % len(prompts)], length) for index, length in enumerate(seconds)]
    return Piece(sections, **{"window": 2.0, "overlap": 0.5} | settings)


def frames(rendering, denoiser=None) -> torch.Tensor:
    denoiser = denoiser or rendering.denoiser()
    parts = []
    while denoiser.done < denoiser.total:
        part = denoiser.advance()
        parts += [] if part is None else [part]
    return torch.cat(parts, -1)


def audio(rendering, latents, done=0) -> torch.Tensor:
    parts = [torch.zeros(2, 0), *rendering.audio(lambda frame: iter(latents[:, frame:].split(37, -1)), done)]
    return torch.cat(parts, -1)


def music(seconds, level=0.1, seed=0) -> torch.Tensor:
    """Noise that comes and goes."""
    time = torch.arange(round(seconds * RATE)) / RATE
    noise = torch.randn(2, len(time), generator=torch.Generator().manual_seed(seed)) * (1.2 + torch.sin(9 * time))
    return noise * level / rms(noise)


def rms(x) -> float:
    return float(x.square().mean().sqrt())


def lead_of(cascade, whole, recording) -> Lead:
    return Lead(recording[:, -Rendering.lead_samples(cascade, whole, recording.shape[-1]) :], rms(recording))


# -- what is left to the model -------------------------------------------------------------------------------------


def test_everything_that_is_left_to_the_model_is_said(cascade):
    left = Piece([Section("slow piano", 20.0)])
    found, settings = resolved(cascade, left)
    named = ("steps", "guidance", "schedule", "rescale", "interval", "apg", "apg_norm", "hold", "codec_steps", "method", "window", "overlap")
    assert all(getattr(left, name) is None and getattr(found, name) is not None for name in named)
    assert (found.method, found.steps, found.guidance, found.codec_steps) == ("joint", 4, 3.0, 3)
    assert found.window == pytest.approx(DEFAULT_WINDOW * HOP / RATE) and found.overlap == found.window / 4
    assert settings == replace(cascade.own_settings, sampler="ddim")
    assert replace(found, **{name: None for name in named}) == left
    assert resolved(cascade, found) == (found, settings) == resolved(cascade, Piece.from_dict(found.to_dict()))


@pytest.mark.parametrize("more", [{}, {"loop": True}, {"method": "continuation"}, {"method": "continuation", "loop": True}], ids=str)
def test_what_is_said_stays(cascade, more):
    said = {"steps": 7, "guidance": 2.0, "schedule": "cosine", "rescale": 0.5, "interval": (0.1, 0.9), "apg": 0.5, "apg_norm": 1.0, "hold": 0.5, "codec_steps": 2}
    whole = Piece([Section("slow piano", 20.0)], **{"method": "joint", "window": 3.0, "overlap": 1.0} | said | more)
    found, settings = resolved(cascade, whole)
    assert found == whole == resolved(cascade, found)[0]
    assert all(getattr(settings, name) == value for name, value in said.items() if name != "codec_steps")


def test_a_continuation_does_each_step_several_times_and_takes_as_many_fewer(cascade):
    found, settings = resolved(cascade, Piece([Section("slow piano", 20.0)], method="continuation"))
    assert found.steps == settings.steps == 2 and settings.resamples == 2


def test_a_models_own_crop_is_the_window(cascade, monkeypatch):
    monkeypatch.setattr(cascade, "crop_frames", 100)
    rendering = Rendering(cascade, Piece([Section("slow piano", 20.0)]))
    assert (rendering.grid.window, rendering.grid.overlap) == (100, 24)


def test_a_negative_prompt_without_guidance_is_refused(cascade, monkeypatch):
    monkeypatch.setattr(cascade.generator, "sampling", replace(cascade.generator.sampling, guidance=1.0))
    sections = [Section("slow piano", 10.0), Section("fast", 10.0, negative="noise")]
    with pytest.raises(ValueError, match="^negative prompt: has no effect without guidance; give a guidance above 1$"):
        Rendering(cascade, Piece(sections))
    assert Rendering(cascade, Piece(sections, guidance=2.0)).settings.guidance == 2.0


def test_windows_that_a_loop_has_no_room_for(cascade):
    """Its end must be another window's than its beginning: otherwise it could not be made to fit."""
    with pytest.raises(ValueError, match=r"^window: a loop of 15 s has windows of at most 10 s, two thirds of it; came 11 s$"):
        piece(15.0, loop=True, window=11.0)
    assert resolved(cascade, Piece([Section("fast", 15.0)], loop=True))[0].window == pytest.approx(10.0)
    assert resolved(cascade, Piece([Section("fast", 18.0)], loop=True))[0].window == pytest.approx(DEFAULT_WINDOW * HOP / RATE)


def test_windows_and_overlaps_are_what_the_network_can_halve(cascade):
    for window, overlap in ((2.0, 0.5), (1.0, 0.001), (1.03, 0.5), (3.33, 1.66)):
        grid = Rendering(cascade, piece(5.0, window=window, overlap=overlap)).grid
        assert grid.window % 2 == grid.overlap % 2 == 0 < grid.overlap <= grid.window // 2
        assert abs(grid.window - window * RATE / HOP) <= 1 and grid.multiple == cascade.generator.frame_multiple


# -- sections ------------------------------------------------------------------------------------------------------


def shares(rendering, first, count) -> torch.Tensor:
    """`(sections, count)`."""
    table = torch.zeros(len(rendering.piece.sections), count)
    for section, share in rendering.weights(first, count):
        table[section] += share
    return table


@pytest.mark.parametrize("loop", [False, True])
def test_sections_take_over_from_one_another_within_their_transitions(cascade, loop):
    lengths, transitions = (5.0, 3.0, 1.0, 6.0, 4.32), (None, 2.0, 0.0, 1.0, None)
    sections = [Section("piano", seconds, transition=transition) for seconds, transition in zip(lengths, transitions)]
    rendering = Rendering(cascade, Piece(sections, window=2.0, overlap=0.5, loop=loop))
    count, lead = rendering.grid.num_frames, rendering.lead
    table = shares(rendering, 0, count)
    torch.testing.assert_close(table.sum(0), torch.ones(count))
    assert table.min() >= 0 and (table > 0).sum(0).max() <= 2 and lead == (24 if loop else 0)
    at = ((torch.arange(count) - lead + 0.5) * HOP / RATE).tolist()
    for boundary, (begin, end) in enumerate(rendering.piece.transitions):
        for frame, now in enumerate(at):
            share = float(table[boundary + 1 :, frame].sum())  # of what comes after the boundary
            expected = min(1.0, max(0.0, (now - begin) / (end - begin))) if end > begin else float(now >= begin)
            assert share == pytest.approx(expected, abs=1e-5), (boundary, now)


def test_a_frame_has_its_sections_whatever_window_it_is_seen_in(cascade):
    """Also where a cut or the end of a transition lies exactly on a frame's middle, as 1.44 s and 6.24 s do."""
    cut = Section("fast", 4.8, transition=0.0)
    rendering = Rendering(cascade, Piece([Section("slow", 1.44), cut, Section("piano", 1.92, transition=1.92), cut], window=2.0, overlap=0.5))
    whole = shares(rendering, 0, 600)
    for first, count in [(first, count) for first in range(55, 75) for count in (1, 2, 13)] + [(270, 23), (292, 1), (293, 1), (0, 68), (68, 30)]:
        assert torch.equal(shares(rendering, first, count), whole[:, first : first + count])
    assert whole[1, 67] == 1 and whole[1, 66] == 0


def test_what_sections_predict_is_interpolated(cascade):
    """Against one section at a time, each asked for the whole window."""
    whole = piece(3.0, 3.0, 3.0, 3.0, 3.0, 3.0, guidance=2.0)
    rendering = Rendering(cascade, whole)
    times = torch.tensor([1.0, 0.5, 0.0])
    x, t, firsts = torch.randn(3, 8, 94), times[[1, 0, 1]], [0, 210, 420]
    found = rendering.predictor(times)(x, t, firsts)
    for row, first in enumerate(firsts):
        expected = torch.zeros(8, 94)
        for section, share in enumerate(shares(rendering, first, 94)):
            one = Piece([whole.sections[section]], window=2.0, overlap=0.5, guidance=2.0)
            expected += share * Rendering(cascade, one).predictor(times)(x[row : row + 1], t[row : row + 1], [0])[0]
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


def test_many_sections_are_told_a_few_at_a_time(cascade, monkeypatch):
    """Three hundred of 2 s; what is prepared of their prompts is let go again."""
    told, alive, most = [], weakref.WeakSet(), [0]
    real = type(cascade.generator).predictor

    def rows(self, conditions, settings, times):
        predict = real(self, conditions, settings, times)
        told.append(len(conditions))
        alive.add(predict)
        most[0] = max(most[0], len(alive))
        return predict

    monkeypatch.setattr(type(cascade.generator), "predictor", rows)
    whole = piece(*[2.0] * 300, prompts=[f"{a} {b} {c}" for a in ("slow", "fast") for b in ("piano", "guitar") for c in "1234"], steps=2, guidance=1.0)
    rendering = Rendering(cascade, whole)
    made = frames(rendering)
    assert made.shape == (8, 28125) and made.isfinite().all()
    assert max(told) <= 8 and len(told) < 100 and most[0] <= 9


def test_each_different_text_is_read_once(cascade, monkeypatch):
    heard, real = [], cascade.conditioner.encode
    monkeypatch.setattr(cascade.conditioner, "encode", lambda texts: heard.extend(texts) or real(texts))
    sections = [Section("slow piano", 2.0, negative="noise"), Section("fast", 2.0), Section("slow piano", 2.0, negative="fast")]
    Rendering(cascade, Piece(sections))
    assert heard == ["slow piano", "fast", "noise"]


def test_a_sections_prompt_and_negative_prompt_are_heard_where_they_are(cascade):
    def made(second, negative=None):
        sections = [Section("slow piano", 4.0), Section(second, 4.0, negative=negative, transition=0.0), Section("slow", 8.0)]
        return frames(Rendering(cascade, Piece(sections, window=2.0, overlap=0.5)))

    plain = made("fast guitar")
    for other in (made("noise"), made("fast guitar", "noise")):
        apart = (other - plain).abs().amax(0)
        assert apart[187:375].min() > 1e-3 and apart[:70].max() < 1e-5  # frames whose window sees nothing of it


# -- samples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [1.0, 3.1234567, 2.0, 6.4, 6.4 + 1 / RATE, 6.4 - 1 / RATE])
def test_a_piece_has_its_length_to_the_sample(cascade, method, seconds):
    rendering = Rendering(cascade, piece(seconds, method=method))
    made = frames(rendering)
    assert made.shape[-1] == rendering.grid.num_frames == -(-rendering.num_samples // HOP)
    sound = audio(rendering, made)
    assert sound.shape == (2, round(seconds * RATE)) and sound.dtype == torch.float32 and sound.isfinite().all() and rms(sound) > 0.01


def whats_made(cascade, method, how) -> tuple[Rendering, torch.Tensor]:
    if how == "loop":
        rendering = Rendering(cascade, piece(5.0, 5.0, 5.0077, method=method, loop=True))
    elif how == "extend":
        whole = piece(3.0, 3.0077, method=method, extend="there.wav")
        rendering = Rendering(cascade, whole, lead_of(cascade, whole, music(5.0)))
    else:
        rendering = Rendering(cascade, piece(3.0, 3.0077, method=method))
    return rendering, frames(rendering)


@pytest.mark.parametrize("how", ["plain", "loop", "extend"])
@pytest.mark.parametrize("method", METHODS)
def test_samples_from_any_on_are_those_of_the_whole_to_the_bit(cascade, method, how):
    rendering, made = whats_made(cascade, method, how)
    whole, total = audio(rendering, made), rendering.total
    assert whole.shape[-1] == total == rendering.num_samples + (1440 if how == "extend" else 0)
    for done in (1, 719, 1440, 65_536, total // 2 + 1, *(total - left for left in (0, 1, 700, 1440, 1441, 5_000))):
        assert torch.equal(audio(rendering, made, done), whole[:, done:]), done


@pytest.mark.parametrize("how", ["plain", "loop", "extend"])
def test_no_frame_is_read_that_is_not_said_to_be(cascade, how):
    """Those of the opening, and those from where decoding goes on: whoever keeps the frames may let go of the others."""
    rendering, made = whats_made(cascade, "joint", how)
    whole = audio(rendering, made)
    for done in (0, 70_000, 200_000, rendering.total - 700):
        opening, first = rendering.frames_read(done)
        spoilt = made.clone()
        spoilt[:, opening:first] = torch.nan
        assert torch.equal(audio(rendering, spoilt, done), whole[:, done:])
    assert first > 150 and (opening > 0) == (how != "plain")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["plain", "loop", "extend"])
def test_latents_go_on_from_a_state_to_the_bit(cascade, method, how):
    rendering, made = whats_made(cascade, method, how)
    denoiser, parts = rendering.denoiser(), []
    while denoiser.done < denoiser.total // 2:
        part = denoiser.advance()
        parts += [] if part is None else [part]
    again, _ = whats_made(cascade, method, how)
    fresh = again.denoiser()
    fresh.restore(denoiser.state())
    assert torch.equal(torch.cat([*parts, frames(again, fresh)], -1), made)


def test_seeds_are_other_music(cascade):
    one, two = (frames(Rendering(cascade, piece(3.0, seed=seed))) for seed in (1, 2))
    assert (one - two).abs().mean() > 0.1
    sounds = [audio(Rendering(cascade, piece(3.0, seed=seed)), one) for seed in (1, 2)]  # the decoder's part of it
    assert rms(sounds[0] - sounds[1]) > 0.1 * rms(sounds[0])


def test_the_decoders_noise_is_not_the_latents(cascade):
    """The first frame of either would be the same numbers, were they of the same stream."""
    from mousai.randomness import positional_noise

    decoders = positional_noise([7], 0, 64, 2048)[0].flatten()
    for method in METHODS:
        denoiser, begun = Rendering(cascade, piece(3.0, seed=7, method=method)).denoiser(), []
        predict, denoiser.predict = denoiser.predict, lambda x, *rest: begun.append(x) or predict(x, *rest)
        denoiser.advance()
        assert torch.isin(begun[0], decoders).float().mean() < 0.1


# -- loops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seconds", [15.0, 15.0077, 15.0 + 512 / RATE, 18.3333])
def test_a_loop_has_no_jump_where_it_begins_again(cascade, method, seconds):
    rendering = Rendering(cascade, piece(seconds / 3, seconds / 3, seconds / 3, method=method, loop=True))
    sound = audio(rendering, frames(rendering))
    assert sound.shape[-1] == round(seconds * RATE) == rendering.total
    twice = torch.cat([sound, sound], -1)
    jumps = twice.diff(dim=-1).abs().amax(0)
    seam = sound.shape[-1]
    around = jumps[seam - 24_000 : seam + 24_000]
    assert jumps[seam - 1] <= around.quantile(0.999) and jumps[seam - 3 : seam + 2].mean() < 2 * around.mean()
    levels = twice[:, seam - 24_000 : seam + 24_000].unfold(-1, 2_400, 2_400).square().mean((0, 2)).sqrt()
    assert levels.max() < 2 * levels.min()


@pytest.mark.parametrize("method", METHODS)
def test_a_loop_goes_on_from_its_own_end(cascade, method):
    """Decoded on, what follows the last sample of the piece is what the piece begins with."""
    rendering = Rendering(cascade, piece(15.36, method=method, loop=True))
    made = frames(rendering)
    assert rendering.grid.num_frames == 720 + 24 and rendering.lead == 24
    apart = (made[:, -24:] - made[:, :24]).abs().mean(0)
    assert apart[-1] < 0.05 * made.std() and (method == "joint" or not apart.any())
    sound = audio(rendering, made)
    fade = sound[:, -1440:] - cascade.codec.decode(made[None, :, :60], seeds=[0])[0, :, 24 * HOP - 1440 : 24 * HOP] / rendering.gain
    assert rms(fade[:, -100:]) < 0.2 * rms(sound) and rms(fade[:, -10:]) < 0.02 * rms(sound)


# -- going on from a recording -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_piece_goes_on_from_a_recording(cascade, method):
    recording = music(5.0)
    whole = piece(3.0, method=method, extend="there.wav")
    lead = lead_of(cascade, whole, recording)
    assert lead.audio.shape[-1] == 47 * HOP  # half a window
    rendering = Rendering(cascade, whole, lead)
    made = frames(rendering)
    known = cascade.codec.encode(lead.audio[None] * rendering.gain)[0]
    assert rendering.lead == 47 and torch.equal(made[:, :45], known[:, :45]) and not torch.equal(made[:, 45:47], known[:, 45:])
    sound = audio(rendering, made)
    assert rendering.join == 1440 and sound.shape[-1] == 3 * RATE + 1440
    end = recording[:, -1440:]
    assert rms(sound[:, :20] - end[:, :20]) < 0.1 * rms(end) < rms(sound[:, 1420:1440] - end[:, 1420:1440])


@pytest.mark.parametrize("method", METHODS)
def test_the_level_is_the_recordings(cascade, method):
    whole, levels = piece(3.0, method=method, extend="there.wav"), {}
    for level in (0.005, 0.1, 0.4):
        lead = lead_of(cascade, whole, music(5.0, level))
        rendering = Rendering(cascade, whole, lead)
        assert rendering.gain == pytest.approx(0.1 / rms(lead.audio), rel=1e-3)
        levels[level] = audio(rendering, frames(rendering))
    for level in (0.005, 0.4):  # the same music, but for how loud it is
        torch.testing.assert_close(levels[level] * (0.1 / level), levels[0.1], atol=2e-3, rtol=0)
    assert 0.5 < rms(levels[0.1]) / 0.1 < 1.5


def test_level_differences_beside_the_join_are_made_up_for(cascade, monkeypatch):
    """A codec that gives back half of what it was told is put right by 6 dB, up to the join and behind it."""
    whole = piece(3.0, extend="there.wav")
    rendering = Rendering(cascade, whole, lead_of(cascade, whole, music(5.0)))
    made = frames(rendering)
    before, real = audio(rendering, made), cascade.codec.decode_stream
    monkeypatch.setattr(cascade.codec, "decode_stream", lambda *a, **k: (0.8 * block for block in real(*a, **k)))
    torch.testing.assert_close(audio(rendering, made), before, atol=1e-3, rtol=0)


def test_a_silent_recording_goes_on_all_the_same(cascade):
    whole = piece(3.0, extend="there.wav")
    for recording in (torch.zeros(2, 2 * RATE), 1e-6 * music(2.0)):
        rendering = Rendering(cascade, whole, lead_of(cascade, whole, recording))
        sound = audio(rendering, frames(rendering))
        assert rendering.gain == 1.0 and sound.isfinite().all() and sound[:, 0].abs().max() < 0.01 < rms(sound[:, 2000:])


@pytest.mark.parametrize("num_samples", [0, 1, 2, 1023, 1024, 100 * 100, RATE - 1])
def test_a_recording_too_short_to_go_on_from_is_refused(cascade, num_samples):
    with pytest.raises(ValueError, match=r"^extend: the recording lasts 0\.\d{3} s, a piece goes on from 1 s or more$"):
        Rendering.lead_samples(cascade, piece(3.0, extend="there.wav"), num_samples)


@pytest.mark.parametrize("window", [1.0, 4.0, None])
@pytest.mark.parametrize("num_samples", [RATE, RATE + 700, 3 * RATE])
def test_a_short_recording_is_gone_on_from(cascade, num_samples, window):
    whole = piece(3.0, extend="there.wav", window=window, overlap=None)
    lead = lead_of(cascade, whole, music(num_samples / RATE))
    rendering = Rendering(cascade, whole, lead)
    assert lead.audio.shape[-1] % HOP == 0 and lead.audio.shape[-1] <= num_samples
    assert lead.audio.shape[-1] == rendering.lead * HOP and rendering.lead <= rendering.grid.window / 2 + 1
    assert audio(rendering, frames(rendering)).shape[-1] == 3 * RATE + rendering.join


def test_a_recording_may_go_on_without_a_word(cascade):
    whole = piece(3.0, prompts=[""], extend="there.wav")
    lead = lead_of(cascade, whole, music(2.0))
    made = frames(Rendering(cascade, whole, lead))
    assert made.isfinite().all() and not torch.equal(made, frames(Rendering(cascade, piece(3.0, extend="there.wav"), lead)))
    unguided = frames(Rendering(cascade, piece(3.0, prompts=[""], guidance=1.0, extend="there.wav"), lead))
    torch.testing.assert_close(made, unguided, atol=1e-5, rtol=1e-4)  # nothing is said that could be heard more


# -- boundaries ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["plain", "loop", "extend"])
def test_boundaries_are_where_windows_meet(cascade, method, how):
    rendering, _ = whats_made(cascade, method, how)
    grid, said = rendering.grid, rendering.boundaries()
    spans = [grid.span(index) for index in range(grid.count)]
    meet = [before[1] if method == "continuation" else (after[0] + before[1]) / 2 for before, after in zip(spans, spans[1:])]
    places = [(frame - rendering.lead) * HOP / RATE for frame in meet]
    places = [place for place in places if 0 < place < rendering.piece.seconds]
    assert len(places) == said["count"] > 2
    assert [said["first"] + index * said["every"] for index in range(said["count"])] == pytest.approx(places)
    assert said["overlap"] == pytest.approx(grid.overlap * HOP / RATE if method == "joint" else 0.0)


def test_a_piece_of_one_window_has_no_boundaries(cascade):
    for method in METHODS:
        assert Rendering(cascade, piece(1.5, method=method)).boundaries()["count"] == 0


# -- as an iterator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loop", [False, True])
def test_a_rendered_piece_is_what_its_latents_decode_to(cascade, method, loop):
    whole = piece(8.0, 9.01, method=method, loop=loop)
    made = torch.cat(list(cascade.render(whole)), -1)
    rendering = Rendering(cascade, whole)
    assert made.shape == (2, rendering.num_samples) and torch.equal(made, audio(rendering, frames(rendering)))


def test_a_rendered_piece_begins_with_the_recording_that_it_extends(cascade, tmp_path):
    recording = music(3.0)
    soundfile.write(tmp_path / "a.wav", recording.T.numpy(), RATE, subtype="FLOAT")
    made = torch.cat(list(cascade.render(piece(4.0, extend=str(tmp_path / "a.wav")))), -1)
    assert made.shape == (2, 7 * RATE) and made.isfinite().all()
    assert torch.equal(made[:, : 3 * RATE - 1440], recording[:, :-1440])
    assert not torch.equal(made[:, 3 * RATE - 1440 : 3 * RATE], recording[:, -1440:])


def test_a_piece_that_is_rendered_keeps_no_latents_but_the_first(cascade, monkeypatch):
    alive, most, real = weakref.WeakSet(), [0], JointDenoiser.advance

    def advance(self):
        made = real(self)
        if made is not None:
            alive.add(made)
            most[0] = max(most[0], len(alive))
        return made

    monkeypatch.setattr(JointDenoiser, "advance", advance)
    blocks = sum(block.shape[-1] for block in cascade.render(piece(*[10.0] * 9, steps=1, codec_steps=1)))
    assert blocks == 90 * RATE and most[0] <= 8

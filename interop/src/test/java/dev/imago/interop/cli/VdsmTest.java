package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The calls of vdsm's (oVirt's) qemuimg.py, and how it reads the answers. */
class VdsmTest {
  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  @Test
  void asksForJson() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "info --output json -f qcow2 -U @top.q",
            "info --output json @r.raw",
            "map --output json @top.q",
            "measure --output json -O qcow2 @base.q",
            "measure --output json -O qcow2 --size 1073741824");

    assertThat(ours.getFirst().out())
        .contains(
            "\"format\": ",
            "\"virtual-size\": ",
            "\"actual-size\": ",
            "\"cluster-size\": ",
            "\"backing-filename\": ",
            "\"compat\": ");
    assertThat(ours.getLast().out()).contains("\"required\": ", "\"fully-allocated\": ");
  }

  @Test
  void acceptsExitCodeThreeOfCheck() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "check --output json -f qcow2 @base.q", "check --output json -f qcow2 @leak.q");

    assertThat(ours.getFirst().out()).contains("\"image-end-offset\": ");
    assertThat(ours.getLast().exit()).isEqualTo(3);
    assertThat(ours.getLast().out()).contains("\"leaks\": ");
  }

  @Test
  void createsVolumes() throws Exception {
    Wrapper.both(
        "create -f qcow2 -o compat=1.1 @vol 1048576",
        "create -f qcow2 -o compat=0.10 @old 1048576",
        "create -f qcow2 -o compat=1.1 -u -b base.q -F qcow2 @overlay 1048576",
        "create -f raw -o preallocation=off @vol.raw 1048576");
  }

  /** Any other text between two carriage returns ends the operation with a ValueError. */
  @Test
  void readsProgress() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "convert -p -t none -T none -f qcow2 -O qcow2 -o compat=1.1 @base.q @copy",
            "convert -p -t none -T none -f qcow2 -O raw -W @top.q @copy.raw",
            "convert -p -t none -T none -f qcow2 -O raw -n @base.q @copy.raw",
            "commit -p -t none -f qcow2 @top.q",
            "rebase -p -t none -T none -u -f qcow2 -F qcow2 -b base.q @top.q");

    for (Answer answer : ours.subList(0, 3)) {
      List<Double> percents = Wrapper.vdsmProgress(answer.out());
      assertThat(percents).isSorted().startsWith(0.0).endsWith(100.0);
    }
  }

  @Test
  void comparesAndKeepsBitmaps() throws Exception {
    Wrapper.both(
        "compare -p -f qcow2 -F qcow2 @base.q @base.q",
        "compare -p -f qcow2 -F qcow2 -s @base.q @empty.q",
        "bitmap --add --enable -g 65536 @base.q b0",
        "bitmap --add --disable -g 65536 @empty.q b1",
        "bitmap --merge b1 -F qcow2 -b @empty.q @base.q b0",
        "info --output json @base.q",
        "bitmap --remove @base.q b0",
        "resize -f qcow2 @base.q 8388608");
  }
}

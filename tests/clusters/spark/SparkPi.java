package org.apache.spark.examples;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;

/** Pi by throwing darts: a Spark application that needs nothing but Spark. */
public final class SparkPi {
    private static final int DARTS_PER_SLICE = 100_000;

    public static void main(String[] args) {
        SparkSession session = SparkSession.builder().appName("Spark Pi").getOrCreate();
        int slices = args.length > 0 ? Integer.parseInt(args[0]) : 2;
        List<Integer> seeds = new ArrayList<>();
        for (int seed = 0; seed < slices; seed++) {
            seeds.add(seed);
        }
        JavaSparkContext context = new JavaSparkContext(session.sparkContext());
        long hits = context.parallelize(seeds, slices).map(SparkPi::hits).reduce(Long::sum);
        System.out.println("Pi is roughly " + 4.0 * hits / ((long) slices * DARTS_PER_SLICE));
        session.stop();
    }

    private static long hits(int seed) {
        SplittableRandom random = new SplittableRandom(seed);
        long hits = 0;
        for (int dart = 0; dart < DARTS_PER_SLICE; dart++) {
            double x = random.nextDouble();
            double y = random.nextDouble();
            if (x * x + y * y <= 1) {
                hits++;
            }
        }
        return hits;
    }
}
